# Finds what docs/DEPENDENCIES.md lists, and says what was taken. Sets KRAIT_USE_{GEMM,TEXT,OPENMP,HUB,EDIT,PLOT,YAML}; the target
# krait_dependencies compiles and links a build, KRAIT_LINK is what the installed static library needs.

# krait_decide(TEXT "<what>" "<Debian packages>" <found>...): KRAIT_USE_TEXT from KRAIT_TEXT and what was found.
function(krait_decide name what packages)
  set(found TRUE)
  foreach(item IN LISTS ARGN)
    if(NOT item)
      set(found FALSE)
    endif()
  endforeach()
  string(TOUPPER "${KRAIT_${name}}" wanted)
  if(wanted STREQUAL "AUTO")
    set(use ${found})
  elseif(wanted AND NOT found)
    message(FATAL_ERROR "KRAIT_${name}=ON, but ${what} was not found: install the Debian package(s) ${packages}, "
                        "or configure with -DKRAIT_${name}=OFF")
  else()
    set(use ${wanted})
  endif()
  if(use)
    message(STATUS "krait: ${name} on (${what})")
  elseif(wanted STREQUAL "AUTO")
    message(STATUS "krait: ${name} off: ${what} not found (Debian: ${packages})")
  else()
    message(STATUS "krait: ${name} off, as configured")
  endif()
  set(KRAIT_USE_${name} ${use} PARENT_SCOPE)
endfunction()

add_library(krait_dependencies INTERFACE)
set(KRAIT_LINK m)
set(KRAIT_PC_LIBS "-lm") # for krait.pc

# Adds a library to the build by the path where it was found, and to what is installed by its name.
macro(krait_use_library name include_dir library)
  target_include_directories(krait_dependencies SYSTEM INTERFACE ${include_dir})
  list(APPEND KRAIT_LINK $<BUILD_INTERFACE:${library}> $<INSTALL_INTERFACE:${name}>)
  string(APPEND KRAIT_PC_LIBS " -l${name}")
endmacro()

# ---- OpenMP
set(OpenMP_C_FOUND FALSE)
if(NOT KRAIT_OPENMP STREQUAL "OFF")
  find_package(OpenMP QUIET COMPONENTS C)
endif()
krait_decide(OPENMP "OpenMP of ${CMAKE_C_COMPILER_ID}" "libgomp1, with clang libomp-dev" ${OpenMP_C_FOUND})
if(KRAIT_USE_OPENMP)
  target_link_libraries(krait_dependencies INTERFACE OpenMP::OpenMP_C)
  list(APPEND KRAIT_LINK OpenMP::OpenMP_C)
  string(APPEND KRAIT_PC_LIBS " ${OpenMP_C_FLAGS}")
endif()

# ---- the GEMM library. It has its own OpenMP threads, which only a build with OpenMP can steer.
if(NOT KRAIT_GEMM MATCHES "^(auto|onednn|plain)$")
  message(FATAL_ERROR "KRAIT_GEMM: expected auto, onednn or plain, found ${KRAIT_GEMM}")
endif()
set(KRAIT_USE_GEMM plain)
if(NOT KRAIT_GEMM STREQUAL "plain")
  find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.h)
  find_library(DNNL_LIBRARY dnnl)
  mark_as_advanced(DNNL_INCLUDE_DIR DNNL_LIBRARY)
  if(DNNL_INCLUDE_DIR AND DNNL_LIBRARY AND KRAIT_USE_OPENMP)
    set(KRAIT_USE_GEMM onednn)
    krait_use_library(dnnl ${DNNL_INCLUDE_DIR} ${DNNL_LIBRARY})
  elseif(KRAIT_GEMM STREQUAL "onednn" AND NOT KRAIT_USE_OPENMP)
    message(FATAL_ERROR "KRAIT_GEMM=onednn needs OpenMP: configure with -DKRAIT_OPENMP=ON, or -DKRAIT_GEMM=plain")
  elseif(KRAIT_GEMM STREQUAL "onednn")
    message(FATAL_ERROR "KRAIT_GEMM=onednn, but oneDNN was not found: install the Debian package libdnnl-dev, "
                        "or configure with -DKRAIT_GEMM=plain")
  endif()
endif()
if(KRAIT_USE_GEMM STREQUAL "onednn")
  message(STATUS "krait: GEMM by oneDNN (${DNNL_LIBRARY})")
else()
  message(STATUS "krait: GEMM in plain C: several times slower on long prompts than with oneDNN (Debian: libdnnl-dev)")
endif()

# ---- text
if(NOT KRAIT_TEXT STREQUAL "OFF")
  find_path(PCRE2_INCLUDE_DIR pcre2.h)
  find_library(PCRE2_LIBRARY pcre2-8)
  find_path(UTF8PROC_INCLUDE_DIR utf8proc.h)
  find_library(UTF8PROC_LIBRARY utf8proc)
  mark_as_advanced(PCRE2_INCLUDE_DIR PCRE2_LIBRARY UTF8PROC_INCLUDE_DIR UTF8PROC_LIBRARY)
endif()
krait_decide(TEXT "PCRE2 and utf8proc" "libpcre2-dev, libutf8proc-dev" "${PCRE2_INCLUDE_DIR}" "${PCRE2_LIBRARY}"
             "${UTF8PROC_INCLUDE_DIR}" "${UTF8PROC_LIBRARY}")
if(KRAIT_USE_TEXT)
  krait_use_library(pcre2-8 ${PCRE2_INCLUDE_DIR} ${PCRE2_LIBRARY})
  krait_use_library(utf8proc ${UTF8PROC_INCLUDE_DIR} ${UTF8PROC_LIBRARY})
endif()

# ---- the hub
if(NOT KRAIT_HUB STREQUAL "OFF")
  find_path(CURL_INCLUDE_DIR curl/curl.h)
  find_library(CURL_LIBRARY curl)
  find_path(CRYPTO_INCLUDE_DIR openssl/evp.h)
  find_library(CRYPTO_LIBRARY crypto)
  mark_as_advanced(CURL_INCLUDE_DIR CURL_LIBRARY CRYPTO_INCLUDE_DIR CRYPTO_LIBRARY)
endif()
krait_decide(HUB "libcurl and libcrypto" "libcurl4-openssl-dev, libssl-dev" "${CURL_INCLUDE_DIR}" "${CURL_LIBRARY}"
             "${CRYPTO_INCLUDE_DIR}" "${CRYPTO_LIBRARY}")
if(KRAIT_USE_HUB)
  krait_use_library(curl ${CURL_INCLUDE_DIR} ${CURL_LIBRARY})
  krait_use_library(crypto ${CRYPTO_INCLUDE_DIR} ${CRYPTO_LIBRARY})
endif()

# ---- line editing, of the program only
if(NOT KRAIT_EDIT STREQUAL "OFF")
  find_path(EDIT_INCLUDE_DIR histedit.h)
  find_library(EDIT_LIBRARY edit)
  mark_as_advanced(EDIT_INCLUDE_DIR EDIT_LIBRARY)
endif()
krait_decide(EDIT "libedit" "libedit-dev" "${EDIT_INCLUDE_DIR}" "${EDIT_LIBRARY}")

# ---- pictures of curves, of the program only
if(NOT KRAIT_PLOT STREQUAL "OFF")
  find_path(CAIRO_INCLUDE_DIR cairo.h PATH_SUFFIXES cairo)
  find_library(CAIRO_LIBRARY cairo)
  mark_as_advanced(CAIRO_INCLUDE_DIR CAIRO_LIBRARY)
endif()
krait_decide(PLOT "cairo" "libcairo2-dev" "${CAIRO_INCLUDE_DIR}" "${CAIRO_LIBRARY}")

# ---- config files of training runs, of the program only
if(NOT KRAIT_YAML STREQUAL "OFF")
  find_path(YAML_INCLUDE_DIR yaml.h)
  find_library(YAML_LIBRARY yaml)
  mark_as_advanced(YAML_INCLUDE_DIR YAML_LIBRARY)
endif()
krait_decide(YAML "libyaml" "libyaml-dev" "${YAML_INCLUDE_DIR}" "${YAML_LIBRARY}")
