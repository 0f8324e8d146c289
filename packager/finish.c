/* SPDX-License-Identifier: Apache-2.0 */
/* What a Debian system has that no package contains: made by maintainer scripts there, by us here. */
#include <sys/stat.h>

#include "packager/pack.h"

#define TEXT_MAX ((size_t)4 << 20)

/* Symlink, unless something stands there. */
static int link_if_free(struct pack *p, const char *path, const char *target, struct kp_err *err)
{
	return tree_has(p, path) ? 0 : tree_add_link(p, path, target, 0, err);
}

static int copy_if_free(struct pack *p, const char *from, const char *to, struct kp_err *err)
{
	kp_autofree char *text = NULL;
	size_t len = 0;

	if (tree_has(p, to) || tree_read(p, from, TEXT_MAX, &text, &len) < 0)
		return 0;
	return kp_tree_add_bytes(p->tree, to, text, len, 0644, 0, err);
}

/* Before the first package: /bin and the like are links into /usr. */
int deb_skeleton(struct pack *p, struct kp_err *err)
{
	static const char *const merged[] = {"bin", "sbin", "lib", "lib64"};
	int rc = 0;

	for (size_t i = 0; !rc && i < KP_ARRAY_LEN(merged); i++) {
		kp_autofree char *path = kp_asprintf("/%s", merged[i]), *target = kp_asprintf("usr/%s", merged[i]);
		kp_autofree char *dir = kp_asprintf("/usr/%s", merged[i]);

		if (tree_has(p, path))
			continue;
		if (!tree_is_dir(p, dir))
			rc = kp_tree_add_dir(p->tree, dir, 0755, 0, err);
		if (!rc)
			rc = tree_add_link(p, path, target, 0, err);
	}
	return rc;
}

static int base_files(struct pack *p, struct kp_err *err)
{
	static const struct {
		const char *path;
		mode_t mode;
	} dirs[] = {
		{"/run/lock", 01777}, {"/var/opt", 0755}, {"/var/mail", 0755}, {"/var/cache", 0755},
		{"/var/lib", 0755},   {"/var/log", 0755}, {"/tmp", 01777},     {"/var/tmp", 01777},
		{"/root", 0700},      {"/usr/local/bin", 0755}, {"/usr/local/lib", 0755}, {"/usr/local/share", 0755},
	};
	kp_autobuf struct kp_buf shells = {0};
	static const char *const known[] = {
		"/bin/sh", "/usr/bin/sh", "/bin/bash", "/usr/bin/bash", "/bin/dash", "/usr/bin/dash", "/bin/zsh",
		"/usr/bin/zsh", "/usr/bin/fish",
	};
	int rc = 0;

	for (size_t i = 0; !rc && i < KP_ARRAY_LEN(dirs); i++)
		if (!tree_has(p, dirs[i].path))
			rc = kp_tree_add_dir(p->tree, dirs[i].path, dirs[i].mode, 0, err);
	if (!rc)
		rc = link_if_free(p, "/var/run", "/run", err);
	if (!rc)
		rc = link_if_free(p, "/var/lock", "/run/lock", err);
	if (!rc)
		rc = copy_if_free(p, "/usr/share/base-files/profile", "/etc/profile", err);
	if (!rc)
		rc = copy_if_free(p, "/usr/share/base-files/dot.bashrc", "/root/.bashrc", err);
	if (!rc)
		rc = copy_if_free(p, "/usr/share/base-files/dot.profile", "/root/.profile", err);
	if (!rc)
		rc = copy_if_free(p, "/usr/share/libc-bin/nsswitch.conf", "/etc/nsswitch.conf", err);
	for (size_t i = 0; i < KP_ARRAY_LEN(known); i++)
		if (tree_has(p, known[i]))
			kp_buf_printf(&shells, "%s\n", known[i]);
	if (!rc && shells.len && !tree_has(p, "/etc/shells"))
		rc = kp_tree_add_bytes(p->tree, "/etc/shells", shells.data, shells.len, 0644, 0, err);
	return rc;
}

/* The bundle, and OpenSSL's default file for programs that look there instead of in a hashed directory. */
static int certificates(struct pack *p, struct kp_err *err)
{
	kp_autostrings struct kp_strings certs = tree_list(p, "/usr/share/ca-certificates/**/*.crt");
	static const char bundle[] = "/etc/ssl/certs/ca-certificates.crt";
	kp_autobuf struct kp_buf all = {0};
	int rc = 0;

	if (!certs.count || tree_has(p, bundle))
		return 0;
	for (size_t i = 0; !rc && i < certs.count; i++) {
		const char *name = strrchr(certs.items[i], '/') + 1;
		kp_autofree char *text = NULL;
		kp_autofree char *link = kp_asprintf("/etc/ssl/certs/%.*s.pem", (int)strlen(name) - 4, name);
		size_t len = 0;

		if (tree_read(p, certs.items[i], TEXT_MAX, &text, &len) < 0 || !len)
			continue;
		kp_buf_add(&all, text, len);
		if (text[len - 1] != '\n')
			kp_buf_puts(&all, "\n");
		rc = link_if_free(p, link, certs.items[i], err);
	}
	if (!rc && all.len)
		rc = kp_tree_add_bytes(p->tree, bundle, all.data, all.len, 0644, 0, err);
	return rc ? rc : link_if_free(p, "/usr/lib/ssl/cert.pem", bundle, err);
}

/* "; priority=20" in a module's file decides its place; 20 where nothing is said. */
static int php_priority(const struct pack *p, const char *path)
{
	kp_autofree char *text = NULL;
	const char *at;

	if (tree_read(p, path, TEXT_MAX, &text, NULL) < 0 || !text)
		return 20;
	at = strstr(text, "priority=");
	return at && atoi(at + 9) > 0 ? atoi(at + 9) : 20;
}

static int php_modules(struct pack *p, const char *version, const char *sapi, struct kp_err *err)
{
	kp_autofree char *pattern = kp_asprintf("/usr/share/php%s-*/*/*.ini", version);
	kp_autostrings struct kp_strings mods = tree_list(p, pattern);
	int rc = 0;

	for (size_t i = 0; !rc && i < mods.count; i++) {
		const char *name = strrchr(mods.items[i], '/') + 1;
		kp_autofree char *available = kp_asprintf("/etc/php/%s/mods-available/%s", version, name);
		kp_autofree char *enabled = kp_asprintf("/etc/php/%s/%s/conf.d/%02d-%s", version, sapi,
							php_priority(p, mods.items[i]), name);

		rc = copy_if_free(p, mods.items[i], available, err);
		if (!rc)
			rc = link_if_free(p, enabled, available, err);
	}
	return rc;
}

static int php(struct pack *p, struct kp_err *err)
{
	static const struct {
		const char *name, *program, *ini;
	} sapis[] = {
		{"cli", "/usr/bin/php%s", "php.ini-production.cli"},
		{"fpm", "/usr/sbin/php-fpm%s", "php.ini-production"},
		{"cgi", "/usr/bin/php-cgi%s", "php.ini-production"},
	};
	kp_autostrings struct kp_strings inis = tree_list(p, "/usr/lib/php/*/php.ini-production");
	int rc = 0;

	for (size_t i = 0; !rc && i < inis.count; i++) {
		const char *start = inis.items[i] + strlen("/usr/lib/php/");
		kp_autofree char *version = kp_strndup(start, strcspn(start, "/"));

		for (size_t j = 0; !rc && j < KP_ARRAY_LEN(sapis); j++) {
			size_t stem = strcspn(sapis[j].program, "%");
			kp_autofree char *program = kp_asprintf("%.*s%s", (int)stem, sapis[j].program, version);
			kp_autofree char *from = kp_asprintf("/usr/lib/php/%s/%s", version, sapis[j].ini);
			kp_autofree char *to = kp_asprintf("/etc/php/%s/%s/php.ini", version, sapis[j].name);

			if (!tree_has(p, program))
				continue;
			rc = copy_if_free(p, from, to, err);
			if (!rc)
				rc = php_modules(p, version, sapis[j].name, err);
		}
	}
	return rc;
}

static int services(struct pack *p, struct kp_err *err)
{
	kp_autostrings struct kp_strings mods = tree_list(p, "/usr/share/nginx/modules-available/*.conf");
	int rc = 0;

	if (tree_has(p, "/etc/nginx/sites-available/default"))
		rc = link_if_free(p, "/etc/nginx/sites-enabled/default", "/etc/nginx/sites-available/default", err);
	for (size_t i = 0; !rc && i < mods.count; i++) {
		kp_autofree char *link = kp_asprintf("/etc/nginx/modules-enabled/50-%s",
						     strrchr(mods.items[i], '/') + 1);

		rc = link_if_free(p, link, mods.items[i], err);
	}
	return rc;
}

int deb_finish(struct pack *p, struct kp_err *err)
{
	int rc = base_files(p, err);

	if (!rc)
		rc = alternatives_make(p, err);
	if (!rc)
		rc = certificates(p, err);
	if (!rc)
		rc = php(p, err);
	return rc ? rc : services(p, err);
}
