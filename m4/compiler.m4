dnl Warnings and hardening, each probed so that an older compiler still builds.
dnl The user's CFLAGS stay the user's: these go into AM_CFLAGS.
AC_DEFUN([AX_LUNETTE_ADD_FLAG], [
	AC_MSG_CHECKING([whether $CC takes $2])
	ax_saved="$CFLAGS"
	CFLAGS="$CFLAGS -Werror $2"
	AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
	    [$1="$$1 $2"; AC_MSG_RESULT([yes])], [AC_MSG_RESULT([no])])
	CFLAGS="$ax_saved"
])

AC_DEFUN([AX_LUNETTE_COMPILER], [
	for flag in -Wall -Wextra -Wshadow -Wstrict-prototypes \
	    -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wwrite-strings \
	    -Wformat=2 -Wundef -Wvla -Wimplicit-fallthrough; do
		AX_LUNETTE_ADD_FLAG([WARNINGS], [$flag])
	done
	for flag in -fstack-protector-strong -fstack-clash-protection \
	    -fcf-protection -fPIE; do
		AX_LUNETTE_ADD_FLAG([HARDENING], [$flag])
	done
	for flag in "-pie" "-Wl,-z,relro" "-Wl,-z,now"; do
		AX_LUNETTE_ADD_FLAG([HARDENING_LDFLAGS], [$flag])
	done
	dnl FORTIFY needs optimisation, and the user may have set it already.
	AS_CASE([" $CFLAGS $CPPFLAGS "],
	    [*FORTIFY_SOURCE*|*-O0*|*-fsanitize*], [],
	    [HARDENING="$HARDENING -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2"])
	AC_SUBST([WARNINGS])
	AC_SUBST([HARDENING])
	AC_SUBST([HARDENING_LDFLAGS])
])

AC_DEFUN([AX_PTHREAD_FLAGS], [
	PTHREAD_FLAGS=-pthread
	AC_SUBST([PTHREAD_FLAGS])
])
