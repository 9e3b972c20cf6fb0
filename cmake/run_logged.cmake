# Run by cmake -P: runs COMMAND (its words joined by |), keeps what it says in LOG, and shows that only when it fails or
# warns.
string(REPLACE "|" ";" words "${COMMAND}")
execute_process(COMMAND ${words} RESULT_VARIABLE status OUTPUT_VARIABLE said ERROR_VARIABLE said)
file(WRITE "${LOG}" "${said}")
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${said}\n(${status}) ${words}")
elseif(said MATCHES "warning")
  message(WARNING "${said}")
endif()
