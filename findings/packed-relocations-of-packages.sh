#!/bin/bash
# dpkg-shlibdeps of dpkg 1.21.22 (Debian 12), glibc 2.36, binutils 2.40.
# One would expect: a program linked with -z pack-relative-relocs, which no glibc before 2.36 loads, gets Depends: libc6 (>= 2.36).
# What happens: the program says that it needs the version GLIBC_ABI_DT_RELR, Debian's list of symbols knows the name as one of 2.36, and
# dpkg-shlibdeps says libc6 (>= 2.34): it looks at the symbols a program uses, and no symbol carries that version.
# Who is hurt: whose package is built on Debian 12 and installed where glibc is 2.34 or 2.35, as on Ubuntu 22.04. It installs, and the
# program ends with "version `GLIBC_ABI_DT_RELR' not found". The package has to say the version itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >program.c <<'C'
#include <stdio.h>
static const char *words[] = {"a", "b"};
const char **table = words;
int main(int count, char **arguments) { return puts(table[count > 1]) < 0 || !arguments; }
C
gcc -O2 -fPIE -pie -Wl,-z,pack-relative-relocs -o program program.c
readelf -V program | grep -o 'Name: GLIBC_[A-Z0-9_.]*' | sort >out
grep -o '^ GLIBC_ABI_DT_RELR.*' "$(dpkg-query --control-path libc6:amd64 symbols)" >>out
mkdir debian
printf 'Source: finding\n\nPackage: finding\nArchitecture: any\n' >debian/control
dpkg-shlibdeps -O program >>out 2>/dev/null
cat out
cat >expected <<'OUT'
Name: GLIBC_2.2.5
Name: GLIBC_2.34
Name: GLIBC_ABI_DT_RELR
 GLIBC_ABI_DT_RELR@GLIBC_ABI_DT_RELR 2.36
shlibs:Depends=libc6 (>= 2.34)
OUT
diff expected out
