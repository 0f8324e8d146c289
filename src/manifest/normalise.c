/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest as it goes into the image: the same meaning, one spelling. */
#include <yaml.h>

#include "base/base.h"
#include "manifest/manifest.h"
#include "manifest/requests.h"

/* JSON is YAML: quoted text with escapes has one spelling, whatever is in it. */
static void put_text(struct kp_buf *b, const char *text)
{
	kp_buf_puts(b, "\"");
	for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
		if (*s == '"' || *s == '\\')
			kp_buf_printf(b, "\\%c", *s);
		else if (*s < 0x20 || *s == 0x7f)
			kp_buf_printf(b, "\\x%02x", *s);
		else if (s[0] == 0xc2 && s[1] < 0xa0)
			kp_buf_printf(b, "\\x%02x", *++s);
		else if (s[0] == 0xe2 && s[1] == 0x80 && (s[2] == 0xa8 || s[2] == 0xa9))
			kp_buf_printf(b, "\\u20%02x", s[2] - 0x80), s += 2;
		else if (s[0] == 0xef && s[1] == 0xbb && s[2] == 0xbf)
			kp_buf_puts(b, "\\ufeff"), s += 2;
		else if (s[0] == 0xef && s[1] == 0xbf && s[2] >= 0xbe)
			kp_buf_printf(b, "\\uff%02x", 0xc0 + s[2] - 0x80), s += 2;
		else
			kp_buf_add(b, s, 1);
	}
	kp_buf_puts(b, "\"");
}

static void put_pair(struct kp_buf *b, const char *indent, const char *key, const char *value)
{
	kp_buf_printf(b, "%s%s: ", indent, key);
	put_text(b, value);
	kp_buf_puts(b, "\n");
}

static void put_list(struct kp_buf *b, const struct kp_strings *list)
{
	kp_buf_puts(b, "[");
	for (size_t i = 0; i < list->count; i++) {
		kp_buf_puts(b, i ? ", " : "");
		put_text(b, list->items[i]);
	}
	kp_buf_puts(b, "]\n");
}

static void put_entry(struct kp_buf *b, const struct kp_manifest *m)
{
	kp_buf_puts(b, "entry:\n  command: ");
	put_list(b, &m->entry);
	if (m->cwd)
		put_pair(b, "  ", "cwd", m->cwd);
	if (m->env.count)
		kp_buf_puts(b, "  env:\n");
	for (size_t i = 0; i < m->env.count; i++) {
		kp_buf_puts(b, "    ? ");
		put_text(b, m->env.items[i].name);
		kp_buf_puts(b, "\n    : ");
		put_text(b, m->env.items[i].value);
		kp_buf_puts(b, "\n");
	}
}

static void put_requests(struct kp_buf *b, const struct kp_requests *r)
{
	if (!r->asks_network && !r->asks_desktop && !r->asks_devices)
		return;
	kp_buf_puts(b, "requests:\n");
	if (r->asks_network) {
		kp_autofree char *net = kp_net_text(&r->net);

		put_pair(b, "  ", "network", net);
	}
	if (r->asks_desktop) {
		const char *comma = "";

		kp_buf_puts(b, "  desktop: [");
		for (unsigned i = 0; i < KP_DESKTOP_KINDS; i++)
			if (r->desktop & 1U << i) {
				kp_buf_printf(b, "%s\"%s\"", comma, kp_desktop_names[i]);
				comma = ", ";
			}
		kp_buf_puts(b, "]\n");
	}
	if (r->asks_devices) {
		kp_buf_puts(b, "  devices: ");
		put_list(b, &r->devices);
	}
}

static void put_registry(struct kp_buf *b, const struct kp_registry *r)
{
	if (!r->mode_count && !r->projection_count)
		return;
	kp_buf_puts(b, "registry:\n");
	if (r->mode_count)
		kp_buf_puts(b, "  modes:\n");
	for (size_t i = 0; i < r->mode_count; i++) {
		kp_buf_puts(b, "    ? ");
		put_text(b, r->modes[i].key);
		kp_buf_printf(b, "\n    : %s\n", kp_mode_names[r->modes[i].mode]);
	}
	if (r->projection_count)
		kp_buf_puts(b, "  projections:\n");
	for (size_t i = 0; i < r->projection_count; i++) {
		kp_buf_puts(b, "  - file: ");
		put_text(b, r->projections[i].file);
		kp_buf_printf(b, "\n    format: %s\n", kp_format_name(r->projections[i].format));
		put_pair(b, "    ", "key", r->projections[i].key);
	}
}

char *kp_manifest_normalised(const struct kp_manifest *m, size_t *ret_len)
{
	struct kp_buf b = {0};

	kp_buf_puts(&b, "kapsel: 1\n");
	put_pair(&b, "", "name", m->name);
	put_pair(&b, "", "version", m->version);
	if (m->summary)
		put_pair(&b, "", "summary", m->summary);
	if (m->entry.count)
		put_entry(&b, m);
	if (m->command_count)
		kp_buf_puts(&b, "commands:\n");
	for (size_t i = 0; i < m->command_count; i++) {
		kp_buf_puts(&b, "  ");
		put_text(&b, m->commands[i].name);
		kp_buf_puts(&b, ": ");
		put_list(&b, &m->commands[i].argv);
	}
	if (m->layers.count) {
		kp_buf_puts(&b, "layers: ");
		put_list(&b, &m->layers);
	}
	if (m->mode_count)
		kp_buf_puts(&b, "modes:\n");
	for (size_t i = 0; i < m->mode_count; i++) {
		kp_buf_puts(&b, "  ? ");
		put_text(&b, m->modes[i].path);
		kp_buf_printf(&b, "\n  : %s\n", kp_mode_names[m->modes[i].mode]);
	}
	if (m->config.count) {
		kp_buf_puts(&b, "config: ");
		put_list(&b, &m->config);
	}
	put_requests(&b, &m->requests);
	put_registry(&b, &m->registry);
	if (ret_len)
		*ret_len = b.len;
	return b.data;
}
