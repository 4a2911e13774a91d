# Runs ${program} ${arguments} in a folder of its own and wants exit code 2, one line on stderr that matches ${sentence}, nothing on
# stdout, and no new file.
file(REMOVE_RECURSE ${folder})
file(MAKE_DIRECTORY ${folder})
file(WRITE ${folder}/empty.txt "")
string(REPEAT "Some words." 5 short)
file(WRITE ${folder}/short.txt "${short}.....")   # 60 bytes, 54 without the last tenth
execute_process(COMMAND ${program} ${arguments} WORKING_DIRECTORY ${folder} RESULT_VARIABLE code OUTPUT_VARIABLE said ERROR_VARIABLE complaint
                TIMEOUT 60)
file(GLOB_RECURSE found LIST_DIRECTORIES true RELATIVE ${folder} ${folder}/*)
list(SORT found)
if(NOT code STREQUAL 2)
    message(FATAL_ERROR "exit code ${code}, expected 2\n${said}${complaint}")
elseif(NOT complaint MATCHES "^language_model: [^\n]+\n$")
    message(FATAL_ERROR "expected one line on stderr, found:\n${complaint}")
elseif(NOT complaint MATCHES "${sentence}")
    message(FATAL_ERROR "expected '${sentence}' in: ${complaint}")
elseif(NOT said STREQUAL "")
    message(FATAL_ERROR "expected nothing on stdout, found:\n${said}")
elseif(NOT found STREQUAL "empty.txt;short.txt")
    message(FATAL_ERROR "expected no new files, found: ${found}")
endif()
