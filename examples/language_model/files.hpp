#pragma once
#include "error.hpp"

#include <filesystem>
#include <string>

namespace language_model {

/// Sees to it that files can be made in the folder. Throws usage_error.
void require_writable(const std::filesystem::path& folder);
/// The same, after making the folder if there is none.
void require_folder(const std::filesystem::path& folder);

/// Writes a text under another name in the folder and renames it to `file`, so that a reader finds the old file, the new one, or none, but never a
/// part. The mode of an older file is kept. Throws usage_error if the file cannot be made; an older one is then as it was.
void replace_file(const std::filesystem::path& file, const std::string& text);

}  // namespace language_model
