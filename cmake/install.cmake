# The package: find_package(guild) gives guild::guild, find_package(guild COMPONENTS io cuda) the parts with further dependencies.
# Each part has an export set of its own, so that a program without it needs none of its dependencies.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/guild)   # share: the files hold for every architecture

install(TARGETS guild EXPORT guildTargets FILE_SET HEADERS)
install(EXPORT guildTargets NAMESPACE guild:: DESTINATION ${package_dir})
foreach(part io cuda)
    if(TARGET guild_${part})
        install(TARGETS guild_${part} EXPORT guild_${part}Targets)
        install(EXPORT guild_${part}Targets NAMESPACE guild:: DESTINATION ${package_dir})
    endif()
endforeach()

configure_package_config_file(cmake/guildConfig.cmake.in guildConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(guildConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/guildConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/guildConfigVersion.cmake DESTINATION ${package_dir})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
