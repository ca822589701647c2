# Finds LLVM 22's development files, or installs them where that needs no password. For `. tools/llvm.sh`; POSIX sh.
#
# find_or_install_llvm succeeds with LLVM_SYS_221_PREFIX exported, or fails with the reason in llvm_problem.
llvm_packages="llvm-22-dev libpolly-22-dev zlib1g-dev libzstd-dev libxml2-dev"
llvm_problem=

find_llvm() {
    for prefix in "${LLVM_SYS_221_PREFIX:-}" /usr/lib/llvm-22 /usr/local/opt/llvm@22 /opt/homebrew/opt/llvm@22 /usr/local /usr; do
        if [ -n "$prefix" ] && [ -x "$prefix/bin/llvm-config" ]; then
            case $("$prefix/bin/llvm-config" --version 2>/dev/null) in
                22.*)
                    # Polly's library is packaged apart on Debian, and linking needs it.
                    if "$prefix/bin/llvm-config" --link-static --libs >/dev/null 2>&1; then
                        LLVM_SYS_221_PREFIX=$prefix
                        export LLVM_SYS_221_PREFIX
                        return 0
                    fi
                    ;;
            esac
        fi
    done
    return 1
}

find_or_install_llvm() {
    find_llvm && return 0
    command -v apt-get >/dev/null || { llvm_problem="no apt-get: install LLVM 22 and set LLVM_SYS_221_PREFIX"; return 1; }
    if [ "$(id -u)" = 0 ]; then
        root=
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        root="sudo -n"
    else
        llvm_problem="installing it needs root: apt-get install $llvm_packages"
        return 1
    fi
    # shellcheck disable=SC2086
    if ! apt-cache show llvm-22-dev >/dev/null 2>&1; then
        $root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >/dev/null 2>&1 || true
        if ! apt-cache show llvm-22-dev >/dev/null 2>&1; then
            llvm_problem="this system's package lists have no llvm-22-dev; apt.llvm.org has it"
            return 1
        fi
    fi
    echo "installing $llvm_packages"
    # shellcheck disable=SC2086
    if ! $root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $llvm_packages >/dev/null 2>&1; then
        llvm_problem="apt-get install $llvm_packages failed"
        return 1
    fi
    find_llvm || { llvm_problem="it is installed, but llvm-config 22 was not found"; return 1; }
}
