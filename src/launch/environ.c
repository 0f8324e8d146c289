/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the guest's environment: nothing of the host's enters by itself. */
#include "launch/launch.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct list {
	char **items;
	size_t count;
};

const char *kp_environ_get(char *const *envp, const char *name)
{
	size_t len = strlen(name);

	for (; envp && *envp; envp++)
		if (!strncmp(*envp, name, len) && (*envp)[len] == '=')
			return *envp + len + 1;
	return NULL;
}

static void unset(struct list *l, const char *name, size_t len)
{
	for (size_t i = 0; i < l->count; i++) {
		if (strncmp(l->items[i], name, len) || l->items[i][len] != '=')
			continue;
		free(l->items[i]);
		memmove(l->items + i, l->items + i + 1, (l->count - i) * sizeof(*l->items));
		l->count--;
		return;
	}
}

static void set(struct list *l, const char *name, const char *value)
{
	unset(l, name, strlen(name));
	l->items = kp_realloc(l->items, (l->count + 2) * sizeof(*l->items));
	l->items[l->count++] = kp_asprintf("%s=%s", name, value);
	l->items[l->count] = NULL;
}

/* Locales that every libc has without files. */
static bool builtin_locale(const char *value)
{
	static const char *const names[] = {"C", "POSIX", "C.UTF-8", "C.utf8"};

	for (size_t i = 0; i < KP_ARRAY_LEN(names); i++)
		if (!strcmp(value, names[i]))
			return true;
	return false;
}

static void set_locale(struct list *l, char *const *host_env)
{
	const char *lang = kp_environ_get(host_env, "LANG");

	set(l, "LANG", lang && builtin_locale(lang) ? lang : "C.UTF-8");
	for (; host_env && *host_env; host_env++) {
		const char *eq = strchr(*host_env, '=');

		if (!strncmp(*host_env, "LC_", 3) && eq && builtin_locale(eq + 1)) {
			kp_autofree char *name = kp_strndup(*host_env, (size_t)(eq - *host_env));

			set(l, name, eq + 1);
		}
	}
}

/* What changes how programs are loaded or interpreted enters only by its full name. */
static bool steers_loading(const char *name)
{
	static const char *const begins[] = {"LD_", "PYTHON", "PERL", "RUBY", "GCONV_PATH", "GTK_PATH", "GTK_MODULES", "GIO_MODULE",
					     "QT_PLUGIN_PATH", "NODE_", "JAVA_TOOL_OPTIONS", "CLASSPATH", "LUA_", "NIX_", "LOCPATH", "MALLOC_",
					     "GLIBC_TUNABLES", "KAPSEL", "PATH", "HOME", "SHELL", "BASH_ENV", "ENV", "IFS"};

	for (size_t i = 0; i < KP_ARRAY_LEN(begins); i++)
		if (!strncmp(name, begins[i], strlen(begins[i])))
			return true;
	return false;
}

static void pass_one(struct list *l, const char *variable, const char *pattern)
{
	const char *eq = strchr(variable, '=');
	kp_autofree char *name = eq ? kp_strndup(variable, (size_t)(eq - variable)) : NULL;
	size_t len = strlen(pattern);

	if (!name || !*name)
		return;
	if (pattern[len - 1] == '*' ? !strncmp(name, pattern, len - 1) && !steers_loading(name) : !strcmp(name, pattern))
		set(l, name, eq + 1);
}

/* What the profile lets in, and what goes with the granted parts of the desktop. */
static void pass_granted(struct list *l, const struct kp_environ_options *o)
{
	static const struct {
		unsigned desktop;
		const char *name;
	} belongs[] = {
		{KP_DESKTOP_X11, "DISPLAY"}, {KP_DESKTOP_X11, "XAUTHORITY"}, {KP_DESKTOP_WAYLAND, "WAYLAND_DISPLAY"},
		{KP_DESKTOP_DBUS, "DBUS_SESSION_BUS_ADDRESS"}, {KP_DESKTOP_AUDIO, "PULSE_SERVER"},
		{KP_DESKTOP_AUDIO, "PIPEWIRE_REMOTE"},
		{KP_DESKTOP_WAYLAND | KP_DESKTOP_DBUS | KP_DESKTOP_AUDIO, "XDG_RUNTIME_DIR"},
		{KP_DESKTOP_X11 | KP_DESKTOP_WAYLAND, "XDG_SESSION_TYPE"}, {KP_DESKTOP_X11 | KP_DESKTOP_WAYLAND, "XDG_CURRENT_DESKTOP"},
	};

	for (char *const *v = o->host_env; v && *v; v++) {
		for (size_t i = 0; i < KP_ARRAY_LEN(belongs); i++)
			if (o->desktop & belongs[i].desktop)
				pass_one(l, *v, belongs[i].name);
		for (size_t i = 0; o->pass && i < o->pass->count; i++)
			pass_one(l, *v, o->pass->items[i]);
	}
}

static bool name_ok(const char *name, size_t len)
{
	return len > 0 && !memchr(name, '=', len);
}

/* --- HKCU\Environment --- */

struct variables {
	struct list *list;
	uint32_t type; /* of this pass */
};

/* %NAME% by the variables there are; what is none of them stays as it is. */
static char *expanded(const char *text, char *const *envp)
{
	struct kp_buf b = {0};

	kp_buf_add(&b, "", 0);
	while (*text) {
		const char *end = *text == '%' ? strchr(text + 1, '%') : NULL;
		kp_autofree char *name = end ? kp_strndup(text + 1, (size_t)(end - text) - 1) : NULL;
		const char *value = name && *name ? kp_environ_get(envp, name) : NULL;

		if (value) {
			kp_buf_puts(&b, value);
			text = end + 1;
		} else {
			kp_buf_add(&b, text++, 1);
		}
	}
	return b.data;
}

static int take_variable(const struct kp_reg_value *v, void *ctx)
{
	const struct variables *all = ctx;
	kp_autofree char *text = kp_strndup(v->d.data, v->d.len), *whole = NULL;

	/* A variable's value has no zero bytes. */
	if (v->d.type != all->type || strlen(text) != v->d.len || !name_ok(v->name, strlen(v->name)))
		return 0;
	whole = v->d.type == KP_REG_EXPAND_SZ ? expanded(text, all->list->items) : kp_strdup(text);
	set(all->list, v->name, whole);
	return 0;
}

static int set_from_registry(struct list *l, struct kp_reg *r, struct kp_err *err)
{
	static const uint32_t passes[] = {KP_REG_SZ, KP_REG_EXPAND_SZ};
	int rc = 0;

	for (size_t i = 0; i < KP_ARRAY_LEN(passes) && !rc; i++)
		rc = kp_reg_each_value(r, "HKCU\\Environment", take_variable, &(struct variables){l, passes[i]});
	return rc && rc != -ENOENT ? kp_fail_errno(err, -rc, "registry: HKCU\\Environment") : 0;
}

static int apply_options(struct list *l, const struct kp_environ_options *o, struct kp_err *err)
{
	for (size_t i = 0; i < o->unset_count; i++) {
		if (!name_ok(o->unset[i], strlen(o->unset[i])))
			return kp_fail(err, EINVAL, "--unset: '%s': not a variable's name", o->unset[i]);
		unset(l, o->unset[i], strlen(o->unset[i]));
	}
	for (size_t i = 0; i < o->env_count; i++) {
		const char *eq = strchr(o->env[i], '=');
		kp_autofree char *name = NULL;

		if (!eq || eq == o->env[i])
			return kp_fail(err, EINVAL, "--env: '%s': not NAME=VALUE", o->env[i]);
		name = kp_strndup(o->env[i], (size_t)(eq - o->env[i]));
		set(l, name, eq + 1);
	}
	return 0;
}

int kp_environ_make(const struct kp_environ_options *o, char ***ret_envp, struct kp_err *err)
{
	static const char *const passed[] = {"TERM", "COLORTERM", "TZ"};
	struct list l = {0};
	int r;

	set(&l, "PATH", DEFAULT_PATH);
	set(&l, "HOME", o->home);
	set(&l, "USER", o->user);
	set(&l, "LOGNAME", o->user);
	set(&l, "SHELL", "/bin/sh");
	for (size_t i = 0; i < KP_ARRAY_LEN(passed); i++) {
		const char *value = kp_environ_get(o->host_env, passed[i]);

		if (value)
			set(&l, passed[i], value);
	}
	set_locale(&l, o->host_env);
	pass_granted(&l, o);
	for (size_t i = 0; o->manifest && i < o->manifest->env.count; i++)
		set(&l, o->manifest->env.items[i].name, o->manifest->env.items[i].value);
	r = o->registry ? set_from_registry(&l, o->registry, err) : 0;
	if (!r)
		r = apply_options(&l, o, err);
	if (r < 0) {
		kp_environ_free(l.items);
		return r;
	}
	set(&l, "KAPSEL_INSTANCE", o->instance);
	*ret_envp = l.items;
	return 0;
}

void kp_environ_free(char **envp)
{
	for (char **e = envp; e && *e; e++)
		free(*e);
	free(envp);
}

char *kp_user_name(char *const *host_env, uid_t uid)
{
	const char *names[] = {kp_environ_get(host_env, "USER"), kp_environ_get(host_env, "LOGNAME")};

	if (!uid)
		return kp_strdup("root");
	for (size_t i = 0; i < KP_ARRAY_LEN(names); i++) {
		size_t len = names[i] ? strlen(names[i]) : 0;

		/* A name that is root's would lie about the uid. */
		if (!len || len > 32 || names[i][0] == '-' || !strcmp(names[i], "root"))
			continue;
		if (strspn(names[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == len)
			return kp_strdup(names[i]);
	}
	return kp_strdup("user");
}
