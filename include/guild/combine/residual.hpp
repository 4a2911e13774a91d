#pragma once

namespace guild::inline v0 {

/// What of x the layer adds to its own output: nothing (a transformer block adds it outside); x; or (1 - sum of weights) x, so
/// that a token without experts passes through (BASE layers, arXiv:2103.16716, eq. 2, with its one weight).
enum class residual { none, plain, complement };

}  // namespace guild::inline v0
