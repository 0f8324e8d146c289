/* SPDX-License-Identifier: Apache-2.0 */
/* The headers of a program: what loads it and what it needs; by libelf, or the first line of a script. */
#include <fcntl.h>
#include <gelf.h>
#include <unistd.h>

#include "packager/elf.h"

/* File offset of an address, by the loadable segments; -1 for none. */
static int64_t file_offset(Elf *elf, uint64_t addr, size_t segments)
{
	for (size_t i = 0; i < segments; i++) {
		GElf_Phdr ph;

		if (gelf_getphdr(elf, (int)i, &ph) && ph.p_type == PT_LOAD && addr >= ph.p_vaddr &&
		    addr - ph.p_vaddr < ph.p_filesz)
			return (int64_t)(addr - ph.p_vaddr + ph.p_offset);
	}
	return -1;
}

struct dynamic {
	uint64_t strtab, strsz;
	uint64_t rpath, runpath; /* offsets + 1, 0: none */
};

static const char *dyn_string(const Elf_Data *strings, uint64_t at)
{
	if (!strings || at >= strings->d_size ||
	    !memchr((char *)strings->d_buf + at, '\0', strings->d_size - at))
		return NULL;
	return (char *)strings->d_buf + at;
}

static void read_dynamic(Elf *elf, const GElf_Phdr *dyn, size_t segments, struct elf_facts *f)
{
	Elf_Data *data = elf_getdata_rawchunk(elf, (int64_t)dyn->p_offset, dyn->p_filesz, ELF_T_DYN), *strings;
	struct dynamic d = {0};
	const char *text;
	GElf_Dyn e;
	int64_t at;

	if (!data)
		return;
	for (int i = 0; gelf_getdyn(data, i, &e) && e.d_tag != DT_NULL; i++) {
		if (e.d_tag == DT_STRTAB)
			d.strtab = e.d_un.d_ptr;
		else if (e.d_tag == DT_STRSZ)
			d.strsz = e.d_un.d_val;
		else if (e.d_tag == DT_RPATH)
			d.rpath = e.d_un.d_val + 1;
		else if (e.d_tag == DT_RUNPATH)
			d.runpath = e.d_un.d_val + 1;
	}
	at = file_offset(elf, d.strtab, segments);
	strings = at < 0 ? NULL : elf_getdata_rawchunk(elf, at, d.strsz, ELF_T_BYTE);
	for (int i = 0; gelf_getdyn(data, i, &e) && e.d_tag != DT_NULL; i++)
		if (e.d_tag == DT_NEEDED && (text = dyn_string(strings, e.d_un.d_val)) && *text)
			kp_strings_add(&f->needed, text);
	if (d.rpath && (text = dyn_string(strings, d.rpath - 1)))
		f->rpath = kp_strdup(text);
	if (d.runpath && (text = dyn_string(strings, d.runpath - 1)))
		f->runpath = kp_strdup(text);
}

static void read_segments(Elf *elf, struct elf_facts *f)
{
	size_t segments = 0;

	if (elf_getphdrnum(elf, &segments) != 0)
		return;
	for (size_t i = 0; i < segments; i++) {
		GElf_Phdr ph;

		if (!gelf_getphdr(elf, (int)i, &ph))
			continue;
		if (ph.p_type == PT_INTERP && ph.p_filesz && ph.p_filesz <= 4096 && !f->interp) {
			Elf_Data *data = elf_getdata_rawchunk(elf, (int64_t)ph.p_offset, ph.p_filesz, ELF_T_BYTE);

			if (data && data->d_size)
				f->interp = kp_strndup(data->d_buf, data->d_size);
		} else if (ph.p_type == PT_DYNAMIC) {
			read_dynamic(elf, &ph, segments, f);
		}
	}
}

static void read_script(const char *head, struct elf_facts *f)
{
	const char *s = head + 2;
	size_t len;

	s += strspn(s, " \t");
	len = strcspn(s, " \t\n");
	if (!len)
		return;
	f->interp = kp_strndup(s, len);
	s += len;
	s += strspn(s, " \t");
	len = strcspn(s, "\n");
	while (len && (s[len - 1] == ' ' || s[len - 1] == '\t' || s[len - 1] == '\r'))
		len--;
	if (len)
		f->interp_arg = kp_strndup(s, len);
}

int elf_read(const char *host_path, struct elf_facts *ret, struct kp_err *err)
{
	kp_autoclose int fd = open(host_path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	char head[257] = "";
	GElf_Ehdr eh;
	Elf *elf;
	ssize_t n;

	*ret = (struct elf_facts){0};
	if (fd < 0)
		return kp_fail_errno(err, errno, "%s", host_path);
	n = pread(fd, head, sizeof(head) - 1, 0);
	if (n < 0)
		return kp_fail_errno(err, errno, "%s", host_path);
	if (n > 2 && !memcmp(head, "#!", 2))
		read_script(head, ret);
	if (n < EI_NIDENT || memcmp(head, ELFMAG, SELFMAG) != 0)
		return 0;
	(void)elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	if (!elf || !gelf_getehdr(elf, &eh)) {
		(void)elf_end(elf);
		return kp_fail(err, ENOEXEC, "%s: damaged ELF file: %s", host_path, elf_errmsg(-1));
	}
	ret->is_elf = true;
	ret->class = eh.e_ident[EI_CLASS];
	ret->machine = eh.e_machine;
	read_segments(elf, ret);
	(void)elf_end(elf);
	return 0;
}

void elf_facts_free(struct elf_facts *f)
{
	free(f->interp);
	free(f->interp_arg);
	free(f->rpath);
	free(f->runpath);
	kp_strings_free(&f->needed);
	*f = (struct elf_facts){0};
}
