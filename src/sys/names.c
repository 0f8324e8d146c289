/* SPDX-License-Identifier: Apache-2.0 */
/* Names that the kernel keeps in one place for all: SysV objects and socket addresses, made private to the instance. */
#include <sodium.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "sys/internal.h"

struct ipc_object {
	uint64_t name; /* kind and number */
	bool removed;
	UT_hash_handle hh;
};

struct address {
	char *host;
	char guest[128];
	size_t len;
	UT_hash_handle hh;
};

struct kp_names {
	pthread_mutex_t lock;
	uint8_t secret[crypto_shorthash_KEYBYTES]; /* guests do not choose which key of the host theirs becomes */
	struct ipc_object *objects;
	struct address *addresses;
};

struct kp_names *kp_names_new(void)
{
	struct kp_names *n = kp_calloc(1, sizeof(*n));

	pthread_mutex_init(&n->lock, NULL);
	randombytes_buf(n->secret, sizeof(n->secret));
	return n;
}

static void remove_object(const struct ipc_object *o)
{
	int id = (int)(uint32_t)o->name;
	char kind = (char)(o->name >> 32);

	if (o->removed)
		return;
	if (kind == 'm')
		(void)shmctl(id, IPC_RMID, NULL);
	else if (kind == 's')
		(void)semctl(id, 0, IPC_RMID);
	else
		(void)msgctl(id, IPC_RMID, NULL);
}

struct kp_names *kp_names_free(struct kp_names *n)
{
	struct ipc_object *o, *next_object;
	struct address *a, *next;

	if (!n)
		return NULL;
	HASH_ITER (hh, n->objects, o, next_object) {
		HASH_DEL(n->objects, o);
		remove_object(o);
		free(o);
	}
	HASH_ITER (hh, n->addresses, a, next) {
		HASH_DEL(n->addresses, a);
		free(a->host);
		free(a);
	}
	pthread_mutex_destroy(&n->lock);
	free(n);
	return NULL;
}

uint32_t kp_names_ipc_key(struct kp_engine *e, uint32_t key)
{
	uint8_t hash[crypto_shorthash_BYTES];
	uint32_t mapped;

	(void)crypto_shorthash(hash, (const uint8_t *)&key, sizeof(key), e->names->secret);
	memcpy(&mapped, hash, sizeof(mapped));
	return mapped ? mapped : 1;
}

static uint64_t name_of(char kind, int id)
{
	return (uint64_t)kind << 32 | (uint32_t)id;
}

void kp_names_put_ipc(struct kp_engine *e, char kind, int id)
{
	struct kp_names *n = e->names;
	uint64_t name = name_of(kind, id);
	struct ipc_object *o;

	pthread_mutex_lock(&n->lock);
	HASH_FIND(hh, n->objects, &name, sizeof(name), o);
	if (!o) {
		o = kp_calloc(1, sizeof(*o));
		o->name = name;
		HASH_ADD(hh, n->objects, name, sizeof(o->name), o);
	}
	o->removed = false;
	pthread_mutex_unlock(&n->lock);
}

/* Shared memory lives on, by its number too, until nobody has it mapped. */
static bool lives_on(int id)
{
	struct shmid_ds ds;

	return shmctl(id, IPC_STAT, &ds) == 0 && ds.shm_perm.mode & SHM_DEST;
}

bool kp_names_have_ipc(struct kp_engine *e, char kind, int id)
{
	struct kp_names *n = e->names;
	uint64_t name = name_of(kind, id);
	struct ipc_object *o;

	pthread_mutex_lock(&n->lock);
	HASH_FIND(hh, n->objects, &name, sizeof(name), o);
	if (o && o->removed && !lives_on(id)) {
		HASH_DEL(n->objects, o);
		free(o);
		o = NULL;
	}
	pthread_mutex_unlock(&n->lock);
	return o;
}

void kp_names_drop_ipc(struct kp_engine *e, char kind, int id)
{
	struct kp_names *n = e->names;
	uint64_t name = name_of(kind, id);
	struct ipc_object *o;

	pthread_mutex_lock(&n->lock);
	HASH_FIND(hh, n->objects, &name, sizeof(name), o);
	if (o && kind == 'm') {
		o->removed = true;
	} else if (o) {
		HASH_DEL(n->objects, o);
		free(o);
	}
	pthread_mutex_unlock(&n->lock);
}

void kp_names_put_address(struct kp_engine *e, const char *host, const void *guest, size_t len)
{
	struct kp_names *n = e->names;
	struct address *a;

	pthread_mutex_lock(&n->lock);
	HASH_FIND_STR(n->addresses, host, a);
	if (!a) {
		a = kp_calloc(1, sizeof(*a));
		a->host = kp_strdup(host);
		HASH_ADD_KEYPTR(hh, n->addresses, a->host, strlen(a->host), a);
	}
	a->len = KP_MIN(len, sizeof(a->guest));
	memcpy(a->guest, guest, a->len);
	pthread_mutex_unlock(&n->lock);
}

size_t kp_names_get_address(struct kp_engine *e, const char *host, void *buf, size_t size)
{
	struct kp_names *n = e->names;
	struct address *a;
	size_t len = 0;

	pthread_mutex_lock(&n->lock);
	HASH_FIND_STR(n->addresses, host, a);
	if (a && a->len <= size) {
		len = a->len;
		memcpy(buf, a->guest, len);
	}
	pthread_mutex_unlock(&n->lock);
	return len;
}
