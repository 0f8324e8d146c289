/* SPDX-License-Identifier: Apache-2.0 */
/* in-root DIR UID PROGRAM [ARG...]: chroot to DIR as root, become UID without any capability, run PROGRAM; needs nothing in DIR. */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char home[] = "HOME=/home", path[] = "PATH=/", term[] = "TERM=dumb";
	char *const env[] = {home, path, term, NULL};
	uid_t uid;

	if (argc < 4) {
		fprintf(stderr, "usage: in-root DIR UID PROGRAM [ARG...]\n");
		return 125;
	}
	uid = (uid_t)strtoul(argv[2], NULL, 10);
	if (chroot(argv[1]) < 0 || chdir("/") < 0 || setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 ||
	    setresuid(uid, uid, uid) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
		perror("in-root");
		return 125;
	}
	execve(argv[3], argv + 3, env);
	perror(argv[3]);
	return errno == ENOENT ? 127 : 126;
}
