# The pinned llama.cpp, built once by scripts/get_llama_cpp.sh outside the build tree (see doc of that script).
# ARKVALE_LLAMA_DIR names another build of the same source.
if(NOT ARKVALE_LLAMA_DIR)
  execute_process(COMMAND ${CMAKE_COMMAND} -E env CXX=${CMAKE_CXX_COMPILER}
                          ${CMAKE_SOURCE_DIR}/scripts/get_llama_cpp.sh --print-dir
                  OUTPUT_VARIABLE ARKVALE_LLAMA_DIR OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
endif()
if(NOT EXISTS ${ARKVALE_LLAMA_DIR}/lib/libllama-text.a)
  message(FATAL_ERROR "no llama.cpp in '${ARKVALE_LLAMA_DIR}': run scripts/get_llama_cpp.sh first")
endif()

# Imported static libraries, so that CMake puts them on the link line in an order that resolves.
function(arkvale_llama_library name file)
  add_library(llama::${name} STATIC IMPORTED GLOBAL)
  set_target_properties(llama::${name} PROPERTIES IMPORTED_LOCATION ${ARKVALE_LLAMA_DIR}/lib/${file})
  target_include_directories(llama::${name} SYSTEM INTERFACE ${ARKVALE_LLAMA_DIR}/include)
  target_link_libraries(llama::${name} INTERFACE ${ARGN})
endfunction()

arkvale_llama_library(ggml-base libggml-base.a Threads::Threads dl m)
arkvale_llama_library(ggml-cpu libggml-cpu.a llama::ggml-base)
arkvale_llama_library(ggml libggml.a llama::ggml-cpu llama::ggml-base)
arkvale_llama_library(llama libllama.a llama::ggml)
# Jinja templates and JSON schema to grammar, for the text room only.
arkvale_llama_library(text libllama-text.a llama::ggml)
target_include_directories(llama::text SYSTEM INTERFACE ${ARKVALE_LLAMA_DIR}/include/llama-text)

add_library(llama_json INTERFACE)
target_include_directories(llama_json SYSTEM INTERFACE ${ARKVALE_LLAMA_DIR}/include)
add_library(llama::json ALIAS llama_json)
