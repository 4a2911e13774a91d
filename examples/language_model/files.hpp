#pragma once
#include "error.hpp"

#include <filesystem>
#include <functional>

namespace language_model {

/// Sees to it that files can be made in the folder. Throws usage_error.
void require_writable(const std::filesystem::path& folder);
/// The same, after making the folder if there is none.
void require_folder(const std::filesystem::path& folder);

/// Calls write(temporary name) and renames the result to `file`, so that a reader finds the old file, the new one, or none, but never a
/// part. Whatever write throws is passed on, without the temporary file. Throws usage_error if the file cannot be made.
void replace_file(const std::filesystem::path& file, const std::function<void(const std::filesystem::path&)>& write);
/// The same for a text.
void replace_file(const std::filesystem::path& file, const std::string& text);

}  // namespace language_model
