/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and answers as bytes. The supervisor reads what guests wrote: all is checked. */
#include "registry/request.h"

#define TEXTS 6 /* of a request */
#define NONE UINT32_MAX

struct head {
	uint32_t action, flags;
	uint32_t len[TEXTS]; /* NONE: not given; each text is followed by a zero byte */
};

struct answer {
	int32_t rc;
	struct kp_err err;
};

void kp_reg_request_encode(const struct kp_reg_request *q, struct kp_buf *out)
{
	const char *const texts[TEXTS] = {q->key, q->name, q->type, q->data, q->separator, q->find};
	struct head h = {.action = q->action, .flags = q->flags};

	for (size_t i = 0; i < TEXTS; i++)
		h.len[i] = texts[i] ? (uint32_t)strlen(texts[i]) : NONE;
	kp_buf_add(out, &h, sizeof(h));
	for (size_t i = 0; i < TEXTS; i++)
		if (texts[i])
			kp_buf_add(out, texts[i], h.len[i] + 1);
	kp_buf_add(out, q->text, q->text ? q->text_len : 0);
}

int kp_reg_request_decode(const char *bytes, size_t len, struct kp_reg_request *ret)
{
	const char *texts[TEXTS] = {0};
	struct head h;
	size_t at = sizeof(h);

	if (len < sizeof(h))
		return -EPROTO;
	memcpy(&h, bytes, sizeof(h));
	for (size_t i = 0; i < TEXTS; i++) {
		if (h.len[i] == NONE)
			continue;
		if (h.len[i] >= len - at || memchr(bytes + at, '\0', h.len[i]) || bytes[at + h.len[i]])
			return -EPROTO;
		texts[i] = bytes + at;
		at += (size_t)h.len[i] + 1;
	}
	if (h.action >= KP_REG_ACTIONS || !texts[0])
		return -EPROTO;
	*ret = (struct kp_reg_request){.action = (enum kp_reg_action)h.action, .flags = h.flags, .key = texts[0], .name = texts[1], .type = texts[2],
				       .data = texts[3], .separator = texts[4], .find = texts[5], .text = bytes + at, .text_len = len - at};
	return 0;
}

void kp_reg_answer_encode(int rc, const struct kp_err *err, const struct kp_buf *text, struct kp_buf *out)
{
	struct answer a = {.rc = rc};

	if (rc)
		a.err = *err;
	kp_buf_add(out, &a, sizeof(a));
	kp_buf_add(out, text->data, text->len);
}

int kp_reg_answer_decode(const char *bytes, size_t len, const char **ret_text, size_t *ret_len, struct kp_err *err)
{
	struct answer a;

	if (len < sizeof(a))
		return kp_fail(err, EPROTO, "the registry: an answer that is none");
	memcpy(&a, bytes, sizeof(a));
	if (a.rc)
		*err = a.err;
	*ret_text = bytes + sizeof(a);
	*ret_len = len - sizeof(a);
	return a.rc;
}
