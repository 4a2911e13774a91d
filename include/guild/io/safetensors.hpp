#pragma once
#include <guild/io/reader.hpp>
#include <guild/io/writer.hpp>

/// safetensors, the format of published checkpoints: 8 bytes, the length N of the header; N bytes of JSON; the data.
/// `io::safetensors` reads a file, `io::safetensors_writer` writes one. F32, F64 and BF16 are numbers here, every other
/// published type is listed, has its size checked, and is read and written as bytes.
