# styleclip_embed(target directory pattern): puts the text of every file below `directory` that matches `pattern` into an
# object library, and offers it to C++ by the path below `directory` without its last extension:
#
#     #include "embedded_scripts.h"
#     std::string_view text = styleclip::embedded_script("stylegan2/synthesis");   // empty when there is none
#
# The header never changes after configuring, so editing a text recompiles one small generated file and nothing else.

set(STYLECLIP_EMBED_SCRIPT "${CMAKE_CURRENT_LIST_DIR}/embed_files.cmake")
set(STYLECLIP_EMBED_HEADER "${CMAKE_CURRENT_LIST_DIR}/embedded_scripts.h.in")

function(styleclip_embed target directory pattern)
  file(GLOB_RECURSE files CONFIGURE_DEPENDS RELATIVE "${directory}" "${directory}/${pattern}")
  list(SORT files)
  set(output "${CMAKE_CURRENT_BINARY_DIR}/${target}")
  configure_file("${STYLECLIP_EMBED_HEADER}" "${output}/embedded_scripts.h" COPYONLY)
  set(absolute ${files})
  list(TRANSFORM absolute PREPEND "${directory}/")
  string(REPLACE ";" "|" joined "${files}")
  add_custom_command(
    OUTPUT "${output}/embedded_scripts.cpp"
    COMMAND "${CMAKE_COMMAND}" -D "DIRECTORY=${directory}" -D "FILES=${joined}"
            -D "OUTPUT=${output}/embedded_scripts.cpp" -P "${STYLECLIP_EMBED_SCRIPT}"
    DEPENDS ${absolute} "${STYLECLIP_EMBED_SCRIPT}"
    COMMENT "Embedding TorchScript sources"
    VERBATIM)
  add_library(${target} OBJECT "${output}/embedded_scripts.cpp")
  target_include_directories(${target} PUBLIC "${output}")
endfunction()
