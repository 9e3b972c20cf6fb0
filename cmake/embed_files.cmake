# Run by cmake -P from embed.cmake: writes OUTPUT (a C++ file) from FILES (joined by |) below DIRECTORY. Text goes out as
# single bytes, because a raw string literal can hold neither every text nor one of any length.

set(arrays "")
set(rows "")
set(index 0)
string(REPLACE "|" ";" files "${FILES}")
foreach(file IN LISTS files)
  file(READ "${DIRECTORY}/${file}" bytes HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")
  string(REGEX REPLACE "\\.[^.]*$" "" name "${file}")
  string(APPEND arrays "constexpr char file_${index}[] = {${bytes}'\\0'};\n")
  string(APPEND rows "    {\"${name}\", {file_${index}, sizeof(file_${index}) - 1}},\n")
  math(EXPR index "${index} + 1")
endforeach()

file(WRITE "${OUTPUT}" "// Generated from the .torchscript files; see cmake/embed.cmake.
#include \"embedded_scripts.h\"

#include <utility>

namespace styleclip {
namespace {

${arrays}
constexpr std::pair<std::string_view, std::string_view> kFiles[] = {
${rows}    {\"\", \"\"},
};

}  // namespace

std::string_view embedded_script(std::string_view name) noexcept {
  for (const auto& [file, text] : kFiles) {
    if (file == name) return text;
  }
  return {};
}

}  // namespace styleclip
")
