# Toolchain file: a cross build for arm64, whose programs run under qemu-user. With KRAIT_ARM64_ROOT in the environment, against Debian's arm64 packages in that
# folder (tools/arm64-root.sh); without, against the cross compiler's own C library, with no dependencies.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(krait_arm64_root /usr/aarch64-linux-gnu)
if(DEFINED ENV{KRAIT_ARM64_ROOT})
  set(krait_arm64_root $ENV{KRAIT_ARM64_ROOT})
  set(CMAKE_SYSROOT ${krait_arm64_root})
  # Nothing of this machine may be taken for something of the other.
  set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
  set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
  set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
endif()
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static -L ${krait_arm64_root})
