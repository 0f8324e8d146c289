/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names that programs meet under.
 *   names hold LABEL  makes an object of each kind under a name of its own, all of them new, that holds LABEL; says "ready"; waits
 *   names look        says what each holds
 */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define KEY 0x6b706e61
#define NAME "/kapsel-names"

static char place[256]; /* $XDG_RUNTIME_DIR/NAME */

static void told(const char *kind, long result, const char *text)
{
	printf("%s %s\n", kind, result < 0 ? strerrorname_np(errno) : text);
}

static socklen_t address(struct sockaddr_un *un, const char *path)
{
	size_t len = strlen(path);

	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path + !*path, *path ? path : NAME, *path ? len : sizeof(NAME));
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (*path ? len + 1 : sizeof(NAME)));
}

static int socket_at(const char *path, int (*use)(int fd, const struct sockaddr *sa, socklen_t len))
{
	struct sockaddr_un un;
	socklen_t len = address(&un, path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), rc = use(fd, (struct sockaddr *)&un, len);

	return rc < 0 ? -1 : listen(fd, 5) < 0 && errno != EINVAL ? -1 : fd;
}

static int file_at(const char *path, const char *label)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);

	return fd < 0 || write(fd, label, strlen(label) + 1) < 0 ? -1 : flock(fd, LOCK_EX | LOCK_NB);
}

static void hold(const char *label)
{
	int shm = shm_open(NAME, O_RDWR | O_CREAT | O_EXCL, 0600), sysv = shmget(KEY, 64, IPC_CREAT | IPC_EXCL | 0600);
	int queue = msgget(KEY, IPC_CREAT | IPC_EXCL | 0600);
	struct mq_attr attr = {.mq_maxmsg = 4, .mq_msgsize = 64};
	mqd_t mq = mq_open(NAME, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
	struct {
		long type;
		char text[16];
	} message = {1, ""};

	told("shm", shm < 0 ? shm : write(shm, label, strlen(label) + 1), "new");
	told("sem", sem_open(NAME, O_CREAT | O_EXCL, 0600, label[0]) == SEM_FAILED ? -1 : 0, "new");
	told("mqueue", mq < 0 ? -1 : mq_send(mq, label, strlen(label) + 1, 0), "new");
	if (sysv >= 0)
		(void)snprintf(shmat(sysv, NULL, 0), 64, "%s", label);
	told("sysv-shm", sysv, "new");
	told("sysv-sem", semget(KEY, 1, IPC_CREAT | IPC_EXCL | 0600), "new");
	(void)snprintf(message.text, sizeof(message.text), "%s", label);
	told("sysv-queue", queue < 0 ? queue : msgsnd(queue, &message, sizeof(message.text), 0), "new");
	told("abstract", socket_at("", bind), "new");
	told("socket", socket_at("/tmp/kapsel-names.sock", bind), "new");
	told("lock", file_at("/run/lock-of-names", label), "new");
	told("runtime", file_at(place, label), "new");
	told("sethostname", sethostname(label, strlen(label)), "set");
	puts("ready");
	(void)fflush(stdout);
	(void)!read(0, &message, 1);
	(void)shmctl(sysv, IPC_RMID, NULL);
}

static const char *text_of(const char *path)
{
	static char buf[64];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);

	buf[n < 0 ? 0 : n] = '\0';
	return n < 0 ? NULL : buf;
}

static void told_text(const char *kind, const char *text)
{
	told(kind, text ? 0 : -1, text);
}

static void look(void)
{
	char first[2] = "", message[64] = "", host[64] = "";
	sem_t *sem = sem_open(NAME, 0);
	mqd_t mq = mq_open(NAME, O_RDWR | O_NONBLOCK);
	int sysv = shmget(KEY, 0, 0), value = 0, shm = shm_open(NAME, O_RDONLY, 0);
	ssize_t n = shm < 0 ? -1 : read(shm, message, sizeof(message) - 1);

	told("shm", n, message);
	if (sem != SEM_FAILED)
		(void)sem_getvalue(sem, &value);
	first[0] = (char)value;
	told("sem", sem == SEM_FAILED ? -1 : 0, first);
	n = mq < 0 ? -1 : mq_receive(mq, message, sizeof(message), NULL);
	told("mqueue", n, message);
	if (n > 0)
		(void)mq_send(mq, message, (size_t)n, 0);
	told_text("sysv-shm", sysv < 0 ? NULL : shmat(sysv, NULL, SHM_RDONLY));
	told("sysv-sem", semget(KEY, 0, 0), "there");
	told("sysv-queue", msgget(KEY, 0), "there");
	told("abstract", socket_at("", connect), "answers");
	told("socket", socket_at("/tmp/kapsel-names.sock", connect), "answers");
	told_text("lock", text_of("/run/lock-of-names"));
	told_text("runtime", text_of(place));
	(void)gethostname(host, sizeof(host) - 1);
	told("hostname", 0, strcmp(host, "one") && strcmp(host, "two") ? "as it was" : host);
}

int main(int argc, char **argv)
{
	const char *run = getenv("XDG_RUNTIME_DIR");

	(void)snprintf(place, sizeof(place), "%s/names", run ? run : "/run");
	if (argc == 3 && !strcmp(argv[1], "hold"))
		hold(argv[2]);
	else if (argc == 2 && !strcmp(argv[1], "look"))
		look();
	else
		return 2;
	return 0;
}
