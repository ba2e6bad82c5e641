# `cmake --install`: the libraries, the header, the program with its man pages and completions, pkg-config and CMake package files.
include(CMakePackageConfigHelpers)

install(TARGETS krait_static krait_shared EXPORT krait
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/krait DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
if(TARGET krait_cli)
  install(TARGETS krait_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
file(GLOB man_pages CONFIGURE_DEPENDS docs/man/*.1)
if(man_pages)
  install(FILES ${man_pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()
if(EXISTS ${PROJECT_SOURCE_DIR}/completions/krait.bash)
  install(FILES completions/krait.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME krait)
endif()
if(EXISTS ${PROJECT_SOURCE_DIR}/completions/krait.zsh)
  install(FILES completions/krait.zsh DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions RENAME _krait)
endif()

configure_file(cmake/krait.pc.in krait.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/krait.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/krait)
configure_package_config_file(cmake/kraitConfig.cmake.in kraitConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(kraitConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/kraitConfig.cmake ${PROJECT_BINARY_DIR}/kraitConfigVersion.cmake DESTINATION ${package_dir})
install(EXPORT krait NAMESPACE krait:: FILE kraitTargets.cmake DESTINATION ${package_dir})

# What the Python package has beside its own files (pyproject.toml): the library under the one name that it is looked for, the program, the headers, and the
# model that comes with krait.
if(SKBUILD)
  install(PROGRAMS $<TARGET_FILE:krait_shared> DESTINATION lib RENAME libkrait.so.${PROJECT_VERSION_MAJOR} COMPONENT python)
  install(TARGETS krait_cli RUNTIME DESTINATION bin COMPONENT python)
  install(DIRECTORY include/krait DESTINATION include COMPONENT python)
  file(REAL_PATH models/default model BASE_DIRECTORY ${PROJECT_SOURCE_DIR})
  install(DIRECTORY ${model}/ DESTINATION models/default COMPONENT python PATTERN "metrics.jsonl" EXCLUDE PATTERN "train.yaml" EXCLUDE)
endif()
