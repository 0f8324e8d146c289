/* SPDX-License-Identifier: Apache-2.0 */
/* The exec loader under a supervisor that answers KP_NR_START and nothing else. */
#include <elf.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "kapsel/start.h"
#include "loader/blob.h"
#include "loader/elf.h"
#include "loader/site.h"
#include "tests/unit/suites.h"

#define OUT_MAX (4U << 20)

struct run {
	const char *program, *interp; /* host paths; interp NULL: none */
	char **argv;
	char **envp;
	uint32_t drop, count; /* new strings, each with its NUL */
	const char *strings;
	size_t strings_len;
};

static char loader_path[64], dir[] = "/tmp/kp-loader-XXXXXX";
static char *no_env[] = {(char *)"A=1", (char *)"PATH=/usr/bin:/bin", NULL};

static void write_exec(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(kp_write_full(fd, data, len), 0);
	ck_assert_int_eq(fchmod(fd, 0555), 0);
	close(fd);
}

static int filter_start(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, KP_NR_START, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {KP_ARRAY_LEN(code), code};

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);
}

static __attribute__((noreturn)) void child(const struct run *r, int out, int sock)
{
	int fd = filter_start();
	char go;

	dup2(out, 1);
	if (fd < 0 || write(sock, &fd, sizeof(fd)) != sizeof(fd) || read(sock, &go, 1) != 1)
		_exit(99);
	execve(loader_path, r->argv, r->envp);
	_exit(98);
}

static uint32_t put(struct kp_start *s, const void *data, size_t len)
{
	uint32_t off = s->strings_len;

	ck_assert_uint_le(off + len, sizeof(s->strings));
	memcpy(s->strings + off, data, len);
	s->strings_len += (uint32_t)len;
	return off;
}

static int add_fd(int listener, uint64_t id, const char *path)
{
	struct seccomp_notif_addfd add = {.id = id, .newfd_flags = O_CLOEXEC};
	int r;

	add.srcfd = (uint32_t)open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge((int)add.srcfd, 0);
	r = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
	close((int)add.srcfd);
	return r;
}

static void answer(int listener, const struct run *r)
{
	struct seccomp_notif n = {0};
	struct seccomp_notif_resp resp = {0};
	static struct kp_start s;
	struct iovec local = {&s, sizeof(s)}, remote;
	kp_autoclose int scratch = memfd_create("scratch", MFD_CLOEXEC);
	char scratch_path[32];

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n) < 0)
		return;
	s = (struct kp_start){.interp_fd = -1, .argv_drop = r->drop, .argv_count = r->count};
	s.execfn_off = put(&s, r->program, strlen(r->program) + 1);
	s.exe_off = s.execfn_off;
	s.dumpable = 1;
	s.comm_off = put(&s, "the-comm", sizeof("the-comm"));
	s.argv_off = put(&s, r->strings ? r->strings : "", r->strings_len ? r->strings_len : 1);
	s.program_fd = add_fd(listener, n.id, r->program);
	s.has_interp = r->interp != NULL;
	if (r->interp)
		s.interp_fd = add_fd(listener, n.id, r->interp);
	ck_assert_int_eq(ftruncate(scratch, KP_SCRATCH_SIZE), 0);
	(void)snprintf(scratch_path, sizeof(scratch_path), "/proc/self/fd/%d", scratch);
	resp.val = add_fd(listener, n.id, scratch_path);
	remote = (struct iovec){(void *)(uintptr_t)n.data.args[0], sizeof(s)};
	ck_assert_uint_eq(n.data.args[1], sizeof(s));
	ck_assert_int_eq(process_vm_writev((pid_t)n.pid, &local, 1, &remote, 1, 0), (ssize_t)sizeof(s));
	resp.id = n.id;
	ck_assert_int_eq(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &resp), 0);
}

/* Runs under the loader; *ret_out is freed by the caller and NUL-terminated. Returns the wait status. */
static int run_loader(const struct run *r, char **ret_out, size_t *ret_len)
{
	int out[2], sock[2], listener, fd, pidfd, status;
	char *text = kp_calloc(1, OUT_MAX + 1);
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock), 0);
	pid = fork();
	if (!pid)
		child(r, out[1], sock[1]);
	close(out[1]);
	close(sock[1]);
	ck_assert_int_eq(read(sock[0], &fd, sizeof(fd)), sizeof(fd));
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	listener = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	ck_assert_int_ge(listener, 0);
	ck_assert_int_eq(write(sock[0], "", 1), 1);
	answer(listener, r);
	while (len < OUT_MAX && (n = read(out[0], text + len, OUT_MAX - len)) > 0)
		len += (size_t)n;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	close(listener);
	close(pidfd);
	close(sock[0]);
	close(out[0]);
	*ret_out = text;
	if (ret_len)
		*ret_len = len;
	return status;
}

static const char glibc[] = "/lib64/ld-linux-x86-64.so.2", musl[] = "/lib/ld-musl-x86_64.so.1";

/* Prints what must be as in a native start; addresses only by their relations. */
static const char probe_source[] =
	"#include <elf.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n"
	"#include <link.h>\n#include <fcntl.h>\n#include <sys/syscall.h>\nstatic char bss[70000];\nstatic __thread int tls = 7;\nint data = 5;\n"
	"static unsigned long file(const char *p, int show) { static char b[4 << 20]; long n = 0, r; int f = open(p, 0);\n"
	" while ((r = read(f, b + n, sizeof(b) - n)) > 0) n += r; close(f); unsigned long h = 5381;\n"
	" for (long i = 0; i < n; i++) { h = h * 33 + (unsigned char)b[i]; if (show) putchar(b[i] ? b[i] : '|'); }\n"
	" printf(\"%s %ld %lu\\n\", p, n, h); return n; }\n"
	"extern char **environ;\n"
	"int main(int argc, char **argv) { Elf64_auxv_t *a; char **e = environ; unsigned long phdr = 0, n = 0;\n"
	" printf(\"argc %d align %lu tls %d data %d\\n\", argc, (unsigned long)(argv - 1) & 15, tls, data);\n"
	" for (size_t i = 0; i < sizeof(bss); i++) n += bss[i];\n printf(\"bss %lu\\n\", n);\n"
	" file(\"/proc/self/cmdline\", argc < 9 && strlen(argv[argc - 1]) < 99); file(\"/proc/self/environ\", 1);\n"
	" for (n = 0; e[n]; n++) puts(e[n]);\n"
	" for (a = (Elf64_auxv_t *)(e + n + 1); a->a_type; a++) switch (a->a_type) {\n"
	" case AT_PHDR: phdr = a->a_un.a_val; printf(\"phdr %d\\n\", ((Elf64_Phdr *)phdr)->p_type); break;\n"
	" case AT_SYSINFO_EHDR: printf(\"vdso %d\\n\", *(char *)a->a_un.a_val); break;\n"
	" case AT_RANDOM: printf(\"random %d\\n\", *(long *)a->a_un.a_val != 0); break;\n"
	" case AT_BASE: printf(\"base %d\\n\", a->a_un.a_val != 0); break;\n"
	" case AT_ENTRY: printf(\"entry near phdr %d\\n\", a->a_un.a_val - phdr < (1 << 24)); break;\n"
	" case AT_PLATFORM: case AT_EXECFN: printf(\"%lu %s\\n\", a->a_type, (char *)a->a_un.a_val); break;\n"
	" default: printf(\"%lu %lu\\n\", a->a_type, a->a_un.a_val); }\n"
	" static char aux[8192]; int f = open(\"/proc/self/auxv\", 0); long r = read(f, aux, 8192);\n"
	" printf(\"auxv %d\\n\", r > 0 && !memcmp(aux, e + n + 1, (char *)(a + 1) - (char *)(e + n + 1)));\n"
	" char *b0 = (char *)syscall(SYS_brk, 0), *b1 = (char *)syscall(SYS_brk, b0 + (64 << 20));\n"
	" if (b1 - b0 != 64 << 20) puts(\"brk fails\"); else memset(b0, 1, 64 << 20);\n"
	" printf(\"brk is low %d\\n\", (unsigned long)b0 < 0x700000000000);\n"
	" for (int i = 3; i < 20; i++) if (fcntl(i, F_GETFD) >= 0) printf(\"open %d\\n\", i);\n return 0; }\n";

static const struct {
	const char *name, *cc, *interp;
} kinds[] = {
	{"static", "gcc -static -no-pie", NULL},
	{"static-pie", "gcc -static-pie", NULL},
	{"pie", "gcc -pie", glibc},
	{"no-pie", "gcc -no-pie", glibc},
	{"aligned", "gcc -pie -Wl,-z,max-page-size=2097152", glibc},
	{"execstack", "gcc -pie -z execstack", glibc},
	{"musl", "musl-gcc", musl},
	{"musl-static", "musl-gcc -static", NULL},
};

static void build(size_t i, char *ret_path, size_t size)
{
	kp_autofree char *src = kp_asprintf("%s/probe.c", dir);
	kp_autofree char *cmd = NULL;

	snprintf(ret_path, size, "%s/%s", dir, kinds[i].name);
	write_exec(src, probe_source, sizeof(probe_source) - 1);
	cmd = kp_asprintf("%s -O1 -w -o %s %s", kinds[i].cc, ret_path, src);
	ck_assert_int_eq(system(cmd), 0);
	unlink(src);
}

static void native(const char *path, char **argv, char **envp, char *ret, size_t size)
{
	int out[2], status;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		dup2(out[1], 1);
		execve(path, argv, envp);
		_exit(98);
	}
	close(out[1]);
	while (len < size - 1 && (n = read(out[0], ret + len, size - 1 - len)) > 0)
		len += (size_t)n;
	ret[len] = '\0';
	close(out[0]);
	waitpid(pid, &status, 0);
	ck_assert_int_eq(status, 0);
}

static void same_as_native(const struct run *r, char **native_argv)
{
	kp_autofree char *want = kp_calloc(1, OUT_MAX), *got = NULL;

	native(r->program, native_argv, r->envp, want, OUT_MAX);
	ck_assert_int_eq(run_loader(r, &got, NULL), 0);
	ck_assert_str_eq(got, want);
	ck_assert_ptr_nonnull(strstr(got, "auxv 1"));
	ck_assert_ptr_null(strstr(got, "brk fails"));
	ck_assert_ptr_nonnull(strstr(got, "brk is low 1"));
}

START_TEST(starts_like_native)
{
	char path[128], *big = kp_calloc(1, 100001), **many = kp_calloc(50001, sizeof(*many));
	char *argv[] = {(char *)"prog", (char *)"", (char *)"two", NULL}, *large[] = {(char *)"prog", big, NULL};
	char *given[] = {(char *)"script", (char *)"x y", (char *)"z", NULL}, *given1[] = {(char *)"script", NULL};
	static const char strings[] = "/bin/interp\0-opt\0/a/long/path/of/the/script/itself";
	char *want[] = {(char *)"/bin/interp", (char *)"-opt", (char *)"/a/long/path/of/the/script/itself",
			(char *)"x y", (char *)"z", NULL};
	char *want1[] = {want[0], want[1], want[2], NULL}, *none[] = {NULL};

	build((size_t)_i, path, sizeof(path));
	memset(big, 'b', 100000);
	for (size_t i = 0; i < 50000; i++)
		many[i] = (char *)"argument";
	struct run r = {.program = path, .interp = kinds[_i].interp, .argv = argv, .envp = no_env};
	same_as_native(&r, argv);
	r.argv = large;
	same_as_native(&r, large);
	r.argv = many;
	same_as_native(&r, many);
	r.argv = given;
	r.drop = 1;
	r.count = 3;
	r.strings = strings;
	r.strings_len = sizeof(strings);
	same_as_native(&r, want);
	r.argv = given1;
	r.envp = none;
	same_as_native(&r, want1);
	unlink(path);
	free(big);
	free(many);
}
END_TEST

static const struct {
	const char *program, *interp, *a1, *a2, *want;
} programs[] = {
	{"/bin/true", glibc, NULL, NULL, ""},
	{"/bin/cat", glibc, "/proc/self/comm", NULL, "the-comm\n"},
	{"/usr/bin/python3", glibc, "-c", "import threading, ctypes; print(6 * 7)", "42\n"},
	{"/bin/busybox", NULL, "echo", "hello", "hello\n"},
	{"/bin/sh", glibc, "-c", "echo a | cat", "a\n"},
};

START_TEST(runs_real_programs)
{
	char *argv[] = {(char *)programs[_i].program, (char *)programs[_i].a1, (char *)programs[_i].a2, NULL};
	struct run r = {.program = programs[_i].program, .interp = programs[_i].interp, .argv = argv, .envp = no_env};
	kp_autofree char *got = NULL;

	ck_assert_int_eq(run_loader(&r, &got, NULL), 0);
	ck_assert_str_eq(got, programs[_i].want);
}
END_TEST

/* One field of a well-formed program replaced: it must die, and soon. off < 0: in the first PT_LOAD. */
#define EH(field) ((int)offsetof(Elf64_Ehdr, field))
#define PH(field) (-1 - (int)offsetof(Elf64_Phdr, field))
static const struct {
	int off;
	unsigned size;
	uint64_t value;
} hostile[] = {
	{EH(e_ident), 1, 0}, {EH(e_machine), 2, EM_386}, {EH(e_type), 2, ET_REL}, {EH(e_phentsize), 2, 32},
	{EH(e_phnum), 2, 0}, {EH(e_phnum), 2, 0xffff}, {EH(e_phoff), 8, ~0ULL}, {EH(e_phoff), 8, 1ULL << 40},
	{EH(e_entry), 8, 0}, {EH(e_entry), 8, 1ULL << 63}, {PH(p_vaddr), 8, ~0ULL}, {PH(p_vaddr), 8, ~0xfffULL},
	{PH(p_vaddr), 8, 1}, {PH(p_vaddr), 8, KP_LOADER_BASE}, {PH(p_vaddr), 8, KP_SCRATCH_BASE},
	{PH(p_vaddr), 8, 0x7ffffffff000}, {PH(p_memsz), 8, ~0ULL}, {PH(p_memsz), 8, 0}, {PH(p_memsz), 8, 1ULL << 47},
	{PH(p_filesz), 8, ~0ULL}, {PH(p_offset), 8, ~0xfffULL}, {PH(p_offset), 8, 1ULL << 62},
};

START_TEST(hostile_headers_die)
{
	kp_autofree char *path = kp_asprintf("%s/hostile", dir), *got = NULL;
	char *data, *argv[] = {(char *)"echo", (char *)"alive", NULL};
	struct run r = {.program = path, .argv = argv, .envp = no_env};
	size_t len;
	int status, off = hostile[_i].off;

	ck_assert_int_eq(kp_read_file(AT_FDCWD, "/bin/busybox", 64U << 20, &data, &len), 0);
	Elf64_Ehdr *eh = (Elf64_Ehdr *)data;
	Elf64_Phdr *ph = (Elf64_Phdr *)(data + eh->e_phoff);
	while (ph->p_type != PT_LOAD)
		ph++;
	memcpy(off >= 0 ? data + off : (char *)ph + (-1 - off), &hostile[_i].value, hostile[_i].size);
	write_exec(path, data, len);
	free(data);
	status = run_loader(&r, &got, NULL);
	ck_assert_msg(WIFSIGNALED(status), "status %x", status);
	ck_assert_str_eq(got, "");
	unlink(path);
}
END_TEST

START_TEST(elf_check)
{
	struct kp_elf_info info;
	char buf[4096];
	kp_autoclose int fd = open("/bin/true", O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(kp_pread_full(fd, buf, sizeof(buf), 0), 0);
	ck_assert_int_eq(kp_elf_check(buf, sizeof(buf), 1 << 20, &info), 0);
	ck_assert(info.has_interp && !info.exec_stack);
	ck_assert_int_eq(memcmp(buf + info.interp_off, glibc, info.interp_len), 0);
	ck_assert_int_eq(kp_elf_check(buf, 64, 1 << 20, &info), -ENODATA);
	ck_assert_int_eq(kp_elf_check(buf, 63, 1 << 20, &info), -ENOEXEC);
	ck_assert_int_eq(kp_elf_check(buf, sizeof(buf), 100, &info), -ENOEXEC);
	ck_assert_int_eq(kp_elf_check("#!/bin/sh", 9, 9, &info), -ENOEXEC);
}
END_TEST

START_TEST(loader_lies_at_its_address)
{
	const Elf64_Ehdr *eh = (const Elf64_Ehdr *)kp_loader_start;

	ck_assert_uint_eq(eh->e_entry & ~0xfffULL, KP_LOADER_BASE);
	ck_assert_int_eq(eh->e_type, ET_EXEC);
}
END_TEST

static void set_up(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(loader_path, sizeof(loader_path), "%s/loader", dir);
	write_exec(loader_path, kp_loader_start, (size_t)(kp_loader_end - kp_loader_start));
}

static void tear_down(void)
{
	kp_remove_tree(AT_FDCWD, dir);
}

/* What lies before and at a syscall instruction; the bytes before that are nops. */
static const struct {
	size_t len; /* of mov and moves; 0: it is no site */
	uint8_t bytes[24];
	size_t count;
} codes[] = {
	{5, {0xb8, 4, 0, 0, 0, 0x0f, 0x05}, 7},
	{8, {0xb8, 4, 0, 0, 0, 0x48, 0x89, 0xfe, 0x0f, 0x05}, 10},
	{13, {0xb8, 4, 0, 0, 0, 0x48, 0x89, 0xfe, 0xbf, 0x9c, 0xff, 0xff, 0xff, 0x0f, 0x05}, 15},
	{20, {0xb8, 4, 0, 0, 0, 0x4c, 0x89, 0xca, 0x4d, 0x89, 0xc2, 0x48, 0x89, 0xd6, 0x48, 0x89, 0xcf, 0x48, 0x89, 0xfe, 0x0f, 0x05}, 22},
	{0, {0xb8, 4, 0, 0, 0, 0x0f, 0x34}, 7},                                     /* not a syscall */
	{0, {0xb8, 5, 0, 0, 0, 0x0f, 0x05}, 7},                                     /* another number */
	{0, {0x48, 0xb8, 4, 0, 0, 0, 0x0f, 0x05}, 8},                               /* the middle of a movabs */
	{0, {0xb8, 4, 0, 0, 0, 0x48, 0x89, 0xf8, 0x0f, 0x05}, 10},                  /* into rax */
	{0, {0xb8, 4, 0, 0, 0, 0xb8, 5, 0, 0, 0, 0x0f, 0x05}, 12},                  /* the same */
	{0, {0xb8, 4, 0, 0, 0, 0x48, 0x89, 0x38, 0x0f, 0x05}, 10},                  /* into memory */
	{0, {0xb8, 4, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05}, 9},                         /* no move */
	{0, {0xb8, 4, 0, 0, 0, 0x48, 0x89, 0xfe, 0x48, 0x89, 0xfe, 0xbf, 1, 2, 3, 4, 0xbe, 1, 2, 3, 4, 0x0f, 0x05}, 23}, /* too many */
};

START_TEST(call_sites)
{
	struct kp_site_code s = {.ip = 0x10000};
	uint8_t slot[KP_NEAR_SLOT], jump[KP_SITE_MOV];
	uint64_t near = 0x20000, at = kp_site_slot_at(near, 1);

	memset(s.bytes, 0x90, sizeof(s.bytes));
	memcpy(s.bytes + KP_SITE_CODE - KP_MIN(codes[_i].count, sizeof(s.bytes)),
	       codes[_i].bytes + codes[_i].count - KP_MIN(codes[_i].count, sizeof(s.bytes)), KP_MIN(codes[_i].count, sizeof(s.bytes)));
	ck_assert_int_eq(kp_site_check(&s, 4), codes[_i].len > 0);
	if (!codes[_i].len)
		return;
	ck_assert_uint_eq(s.len, codes[_i].len);
	ck_assert_uint_eq(kp_site_mov(&s), 0x10000 - 2 - s.len);
	kp_site_make_slot(slot, &s, at, near);
	kp_site_make_jump(jump, &s, at);
	ck_assert_mem_eq(slot, codes[_i].bytes, s.len);
	ck_assert_uint_eq(jump[0], 0xe9);
	ck_assert_uint_eq(kp_site_mov(&s) + 5 + kp_site_get32(jump + 1), at);
	/* call *near; where carry is set, back to the syscall, else behind it */
	ck_assert_uint_eq((uint32_t)(at + s.len + 11 + kp_site_get32(slot + s.len + 7)), near);
	ck_assert_uint_eq((uint32_t)(at + s.len + 25 + kp_site_get32(slot + s.len + 21)), s.ip - 2);
	ck_assert_uint_eq((uint32_t)(at + s.len + 30 + kp_site_get32(slot + s.len + 26)), s.ip);
}
END_TEST

Suite *test_loader(void)
{
	Suite *s = suite_create("loader");
	TCase *t = tcase_create("loader");

	tcase_set_timeout(t, 300);
	tcase_add_unchecked_fixture(t, set_up, tear_down);
	tcase_add_loop_test(t, starts_like_native, 0, KP_ARRAY_LEN(kinds));
	tcase_add_loop_test(t, runs_real_programs, 0, KP_ARRAY_LEN(programs));
	tcase_add_loop_test(t, hostile_headers_die, 0, KP_ARRAY_LEN(hostile));
	tcase_add_test(t, elf_check);
	tcase_add_loop_test(t, call_sites, 0, KP_ARRAY_LEN(codes));
	tcase_add_test(t, loader_lies_at_its_address);
	suite_add_tcase(s, t);
	return s;
}
