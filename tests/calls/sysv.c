/* SPDX-License-Identifier: Apache-2.0 */
/* System V and POSIX objects: shared memory, semaphores, queues; keys made from files. */
#include "guest.h"
#include <semaphore.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

static void keys(void)
{
	printf("a file's key stays: %d\n", ftok("file", 1) == ftok("link", 1));
	printf("another id, another key: %d\n", ftok("file", 1) != ftok("file", 2));
	CALL(ftok("nothing", 1));
}

static void memory(void)
{
	int id = shmget(IPC_PRIVATE, 8192, IPC_CREAT | 0600);
	struct shmid_ds ds;
	char *p = shmat(id, NULL, 0);
	pid_t pid;

	showf(id < 0 ? -1 : 0, "shmget");
	showf(p == (void *)-1 ? -1 : 0, "shmat");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		strcpy(p, "from the child");
		_exit(0);
	}
	show_wait("child", pid);
	printf("read: %s\n", p);
	CALL(shmctl(id, IPC_STAT, &ds));
	printf("attached %lu, size %zu\n", (unsigned long)ds.shm_nattch, ds.shm_segsz);
	CALL(shmctl(id, IPC_RMID, NULL));
	CALL(shmdt(p));
	CALL(shmdt(p));
	printf("gone: %s\n", shmat(id, NULL, 0) == (void *)-1 ? "yes" : "no");
}

static void semaphores(void)
{
	int id = semget(IPC_PRIVATE, 2, IPC_CREAT | 0600);
	struct sembuf up = {0, 2, 0}, down = {0, -1, IPC_NOWAIT}, undo = {1, 1, SEM_UNDO};
	struct timespec soon = {0, 20000000};
	pid_t pid;

	showf(id < 0 ? -1 : 0, "semget");
	CALL(semop(id, &up, 1));
	CALL(semctl(id, 0, GETVAL));
	CALL(semop(id, &down, 1));
	CALL(semop(id, &down, 1));
	CALL(semop(id, &down, 1));
	down.sem_flg = 0;
	CALL(semtimedop(id, &down, 1, &soon));
	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(semop(id, &undo, 1) < 0);
	show_wait("child", pid);
	CALL(semctl(id, 1, GETVAL));
	CALL(semctl(id, 0, IPC_RMID));
	CALL(semop(id, &up, 1));
}

static void queues(void)
{
	struct {
		long type;
		char text[16];
	} m = {2, "second"}, r = {0};
	int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);

	showf(id < 0 ? -1 : 0, "msgget");
	CALL(msgsnd(id, &m, sizeof(m.text), 0));
	m.type = 1;
	memcpy(m.text, "first", 6);
	CALL(msgsnd(id, &m, sizeof(m.text), 0));
	CALL(msgrcv(id, &r, sizeof(r.text), 1, 0));
	printf("got %s\n", r.text);
	CALL(msgrcv(id, &r, sizeof(r.text), 5, IPC_NOWAIT));
	CALL(msgrcv(id, &r, 1, 0, 0));
	CALL(msgctl(id, IPC_RMID, NULL));
}

static void posix_objects(void)
{
	char name[64];
	int fd;
	sem_t *sem;
	struct stat st;

	snprintf(name, sizeof(name), "/kapsel-test-%d", getpid());
	fd = FD(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
	CALL(ftruncate(fd, 100));
	FD(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
	showf(fstat(fd, &st), "fstat");
	printf("size %lld\n", (long long)st.st_size);
	showf(shm_unlink(name), "shm_unlink");
	showf(shm_unlink(name), "shm_unlink");
	sem = sem_open(name, O_CREAT | O_EXCL, 0600, 1);
	showf(sem == SEM_FAILED ? -1 : 0, "sem_open");
	if (sem != SEM_FAILED) {
		CALL(sem_trywait(sem));
		CALL(sem_trywait(sem));
		CALL(sem_post(sem));
	}
	showf(sem_unlink(name), "sem_unlink");
	fd = FD(memfd_create("mine", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	CALL(write(fd, "sealed", 6));
	CALL(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	CALL(write(fd, "x", 1));
}

int main(void)
{
	guest_start();
	keys();
	memory();
	semaphores();
	queues();
	posix_objects();
	return 0;
}
