/* SPDX-License-Identifier: Apache-2.0 */
/* Every verb and every option, once: parsing, help, man pages and completions come from here. */
#include "base/powers.h"
#include "cmd/cmd.h"

/* clang-format off */
static const struct kp_option run_options[] = {
	{"instance", 'i', "NAME",              0,              "run in the instance NAME (default: NAME-VERSION of the image); it is kept"},
	{"rm",        0,  NULL,                0,              "run in a throw-away instance"},
	{"bind",     'b', "HOST[:GUEST[:ro]]", KP_OPT_REPEAT | KP_OPT_START | KP_OPT_FILE, "show a host directory or file in the guest"},
	{"mode",      0,  "PATH=MODE",         KP_OPT_REPEAT | KP_OPT_START, "show the host's PATH below the image's: full (not), writecopy (changes stay in the instance), merged (they reach the host)"},
	{"layer",     0,  "IMAGE",             KP_OPT_REPEAT | KP_OPT_FILE, "put an image underneath, below those that the manifest names"},
	{"env",      'e', "NAME=VALUE",        KP_OPT_REPEAT,  "set a variable of the guest"},
	{"unset",     0,  "NAME",              KP_OPT_REPEAT,  "remove a variable of the guest"},
	{"cwd",      'w', "PATH",              0,              "start in this directory of the guest"},
	{"pass-fd",   0,  "N",                 KP_OPT_REPEAT,  "hand descriptor N to the guest, under that number"},
	{"trace",     0,  "FILE",              KP_OPT_START | KP_OPT_FILE, "write one decoded line per system call to FILE"},
	{"dump-filter", 0, NULL,               0,              "print the system call filter that the program would run under, and run nothing"},
	{"quiet",    'q', NULL,                0,              "print no advice"},
	{"level",     0,  "portable|strict",   KP_OPT_START,   "confinement (docs/SECURITY.md): what the program may open itself of what it is shown (default: the profile's)"},
	{"profile",  'p', "NAME|FILE",         KP_OPT_START,              "what the program is granted (docs/PROFILES.md): portable (default), isolated, untrusted, server, desktop, or yours"},
	{"net",       0,  "MODE",              KP_OPT_START,              "network: none, loopback, host, or connect=PORT,... (the loopback, and these ports elsewhere)"},
	{"publish",   0,  "HOST:GUEST[/udp]",  KP_OPT_START | KP_OPT_REPEAT, "what listens at port GUEST inside does so at port HOST of this host, or not at all"},
	{"limit",     0,  "KEY=VALUE",         KP_OPT_REPEAT,  "at most so much: memory, processes, open-files, file-size, cpu-time, disk (memory=512M, cpu-time=2h)"},
	{"record",    0,  NULL,                KP_OPT_LATER,   "record what the program does"},
	{0}
};

static const struct kp_option exec_options[] = {
	{"env",      'e', "NAME=VALUE",        KP_OPT_REPEAT,  "set a variable of the guest"},
	{"unset",     0,  "NAME",              KP_OPT_REPEAT,  "remove a variable of the guest"},
	{"cwd",      'w', "PATH",              0,              "start in this directory of the guest"},
	{"pass-fd",   0,  "N",                 KP_OPT_REPEAT,  "hand descriptor N to the guest, under that number"},
	{0}
};

static const struct kp_option inspect_options[] = {
	{"profile",  'p', "NAME|FILE",         0,              "what this profile would grant it here (default: portable)"},
	{"json",      0,  NULL,                0,              "print JSON"},
	{0}
};

static const struct kp_option json_options[] = {
	{"json",      0,  NULL,                0,              "print JSON"},
	{0}
};

static const struct kp_option ps_options[] = {
	{"all",      'a', NULL,                0,              "list also the instances that do not run"},
	{"json",      0,  NULL,                0,              "print JSON"},
	{0}
};

static const struct kp_option stop_options[] = {
	{"time",     't', "SECONDS",           0,              "how long after TERM to send KILL (default: 10)"},
	{0}
};

static const struct kp_option ls_options[] = {
	{"long",     'l', NULL,                0,              "mode, size, time and link target too"},
	{"recursive", 'R', NULL,               0,              "everything below"},
	{"json",      0,  NULL,                0,              "print JSON"},
	{0}
};

static const struct kp_option extract_options[] = {
	{"directory", 'C', "HOSTDIR",          0,              "where to (needed); made when missing"},
	{"force",    'f', NULL,                0,              "replace files that exist"},
	{0}
};

static const struct kp_option quiet_options[] = {
	{"quiet",    'q', NULL,                0,              "no progress"},
	{0}
};

static const struct kp_option cache_options[] = {
	{"older-than", 0, "DAYS",              0,              "trim: only images not used for so many days"},
	{"repair",    0,  NULL,                0,              "verify: remove damaged objects"},
	{"json",      0,  NULL,                0,              "print JSON"},
	{0}
};

/* Parsed by kapsel-pack; here for the man page and the completions. `make check-docs` compares with its --help. */
static const struct kp_option pack_options[] = {
	{"output",   'o', "OUT",               0,              "where the image goes (needed); it appears whole or not at all"},
	{"compression", 'c', "LEVEL",          0,              "zstd level, 1 (fast) to 22 (small); default 15"},
	{"jobs",     'j', "N",                 0,              "compressor threads; default: one a processor"},
	{"quiet",    'q', NULL,                0,              "no progress, no summary"},
	{"verbose",  'v', NULL,                0,              "say what is added and what is left out"},
	{0}
};

static const struct kp_option explain_options[] = {
	{"mode",      0,  "PATH=MODE",         KP_OPT_REPEAT,  "as for run"},
	{"layer",     0,  "IMAGE",             KP_OPT_REPEAT,  "as for run"},
	{"profile",  'p', "NAME|FILE",         0,              "as for run"},
	{0}
};

static const struct kp_option diff_options[] = {
	{"json",      0,  NULL,                0,              "print JSON"},
	{"unified",  'u', NULL,                0,              "show how texts differ"},
	{"mode",      0,  "PATH=MODE",         KP_OPT_REPEAT,  "as for run (default: as in the last run)"},
	{"layer",     0,  "IMAGE",             KP_OPT_REPEAT,  "as for run (default: as in the last run)"},
	{0}
};

static const struct kp_option commit_options[] = {
	{"to-image",  0,  "OUT.kapsel",        0,              "not to the host: make a new image of the layers and the changes"},
	{"dry-run",  'n', NULL,                0,              "say what would be done"},
	{"force",    'f', NULL,                0,              "also over what changed on the host meanwhile; --to-image: replace OUT"},
	{"quiet",    'q', NULL,                0,              "print nothing"},
	{"mode",      0,  "PATH=MODE",         KP_OPT_REPEAT,  "as for run (default: as in the last run)"},
	{"layer",     0,  "IMAGE",             KP_OPT_REPEAT,  "as for run (default: as in the last run)"},
	{0}
};

static const struct kp_option discard_options[] = {
	{"quiet",    'q', NULL,                0,              "print nothing"},
	{"layer",     0,  "IMAGE",             KP_OPT_REPEAT,  "as for run (default: as in the last run)"},
	{0}
};

static const struct kp_option clone_options[] = {
	{"count",    'n', "N",                 0,              "make N of them: NEW-1 to NEW-N"},
	{0}
};

static const struct kp_option snapshot_options[] = {
	{"note",      0,  "TEXT",              0,              "create: what it is for"},
	{"restart",   0,  NULL,                0,              "restore: what ran is started again, as it was started, in the place of this command"},
	{"json",      0,  NULL,                0,              "create, list, diff: print JSON"},
	{0}
};

static const struct kp_option undo_options[] = {
	{"since",     0,  "TIME",              0,              "all since then: 10m, 2h, 3d, '2026-01-31 18:30', @SECONDS"},
	{0}
};

static const struct kp_option upgrade_options[] = {
	{"dry-run",  'n', NULL,                0,              "say what would become of each change, and what conflicts"},
	{"conflicts", 0,  "keep|new",          0,              "where the instance and the new image both changed: keep the instance's, or take the image's (default: nothing is done)"},
	{"from",      0,  "IMAGE",             0,              "where the image is now that the instance was made from"},
	{"layer",     0,  "IMAGE",             KP_OPT_REPEAT,  "put an image underneath the new one (default: as in the last run)"},
	{"quiet",    'q', NULL,                0,              "print nothing"},
	{0}
};

static const struct kp_option export_options[] = {
	{"changes",   0,  NULL,                0,              "its changes only, with digests of what they were made against: import puts them on any image that has the same there"},
	{"output",   'o', "FILE",              0,              "where it goes (needed); it appears whole or not at all"},
	{"force",    'f', NULL,                0,              "replace FILE"},
	{0}
};

static const struct kp_option import_options[] = {
	{"image",     0,  "IMAGE",             0,              "where the image is that it was made from; of changes only: what they are put on"},
	{0}
};

/* reg.exe's own words (/v /ve /va /t /d /f /s /k) are taken, too: KP_VERB_SLASH. These both /.kapsel/reg and `kapsel reg` take. */
#define REG_OPTIONS \
	{"value",    'v', "NAME",              0,              "the value (/v)"}, \
	{"default",   0,  NULL,                0,              "the key's default value (/ve)"}, \
	{"all-values", 0, NULL,                0,              "delete: all values of the key, and no key (/va)"}, \
	{"type",     't', "TYPE",              0,              "add: its type (/t), REG_SZ where none is given; query: values of this type only"}, \
	{"data",     'd', "DATA",              0,              "add: what it holds (/d); numbers decimal or 0x, bytes in hex"}, \
	{"separator", 0,  "TEXT",              0,              "add: what stands between the texts of a REG_MULTI_SZ (/s; default: \\0)"}, \
	{"force",    'f', NULL,                0,              "add, delete, export: do not ask (/f)"}, \
	{"recursive", 's', NULL,               0,              "query: all keys below (/s)"}, \
	{"find",      0,  "TEXT",              0,              "query: what has this in a key's name, a value's name or its data (/f)"}, \
	{"in-keys",  'k', NULL,                0,              "query --find: in names of keys only (/k)"}, \
	{"in-data",   0,  NULL,                0,              "query --find: in data only (/d)"}, \
	{"utf8",      0,  NULL,                0,              "export: in UTF-8, not in UTF-16"}, \
	{"json",      0,  NULL,                0,              "query: print JSON"}
static const struct kp_option reg_options[] = {
	REG_OPTIONS,
	{"profile",  'p', "NAME|FILE",         0,              "with the policy of this profile (default: portable)"},
	{0}
};
const struct kp_option kp_reg_inside_options[] = {REG_OPTIONS, {0}};

#define C KP_VERB_COMMAND
#define P KP_VERB_PACK
#define L KP_VERB_LATER
#define S KP_VERB_SLASH
/* What is left to root: base/powers.h. */
#define READ KP_POWERS_READ
#define WRITE KP_POWERS_WRITE
#define COPY KP_POWERS_COPY
#define RUN KP_POWERS_RUN /* ps, too: only who has what a supervisor has is told its memory */
const struct kp_verb kp_verbs[] = {
	/* name      function         flags powers      min max usage                               help                                       options */
	{"run",      kp_cmd_run,      C, RUN,          1,  1, "[OPTIONS] IMAGE [-- CMD|@NAME ARG...]", "run the entry point, or CMD, in an instance", run_options},
	{"inspect",  kp_cmd_inspect,  0, READ,         1,  1, "[OPTIONS] IMAGE",                       "show what an image is, holds, asks for and is granted", inspect_options},
	{"ls",       kp_cmd_ls,       0, READ,         1,  2, "[OPTIONS] IMAGE [PATH]",                "list files of an image",                     ls_options},
	{"cat",      kp_cmd_cat,      0, READ,         2, -1, "IMAGE PATH...",                         "print files of an image",                    NULL},
	{"extract",  kp_cmd_extract,  0, WRITE,        1, -1, "[--force] IMAGE -C HOSTDIR [PATH...]",  "unpack an image, or parts of it",            extract_options},
	{"verify",   kp_cmd_verify,   0, READ | WRITE, 1,  1, "[--quiet] IMAGE|INSTANCE",              "check an image's digests, or an instance's files", quiet_options},
	{"explain",  kp_cmd_explain,  0, READ,         2,  2, "[OPTIONS] IMAGE|INSTANCE PATH",         "which layer answers for PATH, and why",      explain_options},
	{"ps",       kp_cmd_ps,       0, RUN,          0,  0, "[--all] [--json]",                      "list instances",                             ps_options},
	{"exec",     kp_cmd_exec,     C, RUN,          1,  1, "[OPTIONS] INSTANCE -- CMD ARG...",      "run a command in a running instance",        exec_options},
	{"stop",     kp_cmd_stop,     0, READ,         1,  1, "[--time SECONDS] INSTANCE",             "end all processes of an instance",           stop_options},
	{"rm",       kp_cmd_rm,       0, WRITE,        1, -1, "INSTANCE...",                           "remove instances that do not run",           NULL},
	{"diff",     kp_cmd_diff,     0, READ | WRITE, 1, -1, "[OPTIONS] INSTANCE [PATH...]",          "list what an instance changed",              diff_options},
	{"commit",   kp_cmd_commit,   0, COPY,         1, -1, "[OPTIONS] INSTANCE [PATH...]",          "apply an instance's changes to the host, or bake an image", commit_options},
	{"discard",  kp_cmd_discard,  0, COPY,         1, -1, "[OPTIONS] INSTANCE [PATH...]",          "drop an instance's changes",                 discard_options},
	{"clone",    kp_cmd_clone,    0, COPY,         2,  2, "[--count N] INSTANCE NEW",              "copy an instance",                           clone_options},
	{"snapshot", kp_cmd_snapshot, 0, RUN,          2,  4, "create|list|restore|rm|diff INSTANCE [NAME [NAME]]", "keep an instance's state, and go back to it", snapshot_options},
	{"undo",     kp_cmd_undo,     0, COPY,         1,  1, "[--since TIME] INSTANCE",               "go back to before the last commit, discard, restore, upgrade or change of configuration", undo_options},
	{"upgrade",  kp_cmd_upgrade,  0, COPY,         2,  2, "[OPTIONS] INSTANCE IMAGE",              "move an instance to a new version of its image", upgrade_options},
	{"export",   kp_cmd_export,   0, WRITE,        1,  1, "[OPTIONS] INSTANCE -o FILE",            "write an instance to one file",              export_options},
	{"import",   kp_cmd_import,   0, COPY,         1,  2, "[--image IMAGE] FILE [NAME]",           "make an instance from such a file",          import_options},
	{"reg",      kp_cmd_reg,      S, WRITE,        2,  4, "query|add|delete|export|import [OPTIONS] IMAGE|INSTANCE [KEY] [FILE]", "the registry of an image or instance", reg_options},
	{"cache",    kp_cmd_cache,    0, WRITE,        1,  1, "show|trim|verify [OPTIONS]",            "look after the object store",                cache_options},
	{"doctor",   kp_cmd_doctor,   0, RUN,          0,  0, "[--json]",                              "what this host offers",                      json_options},
	{"pack",     NULL,            P, WRITE,        0, -1, "MANIFEST -o APP.kapsel",                "build an image (kapsel-pack)",               pack_options},
	{"capture",  NULL,            L, 0,            0, -1, "", "pack what a command reads", NULL},
	{"learn",    NULL,            L, 0,            0, -1, "", "the narrowest profile", NULL},
	{"lint",     NULL,            L, 0,            0, -1, "", "what will bite on other hosts", NULL},
	{"report",   NULL,            L, 0,            0, -1, "", "what a recorded run did", NULL},
	{"selftest", NULL,            L, 0,            0, -1, "", "what holds on this host", NULL},
	{"sign",     NULL,            L, 0,            0, -1, "", "sign an image", NULL},
	{"try",      NULL,            L, 0,            0, -1, "", "a program of the host, changes kept apart", NULL},
	{"why",      NULL,            L, 0,            0, -1, "", "why an access went as it did", NULL},
	{0}
};
/* clang-format on */

const struct kp_verb *kp_verb_find(const char *name)
{
	for (const struct kp_verb *v = kp_verbs; v->name; v++)
		if (!strcmp(v->name, name))
			return v;
	return NULL;
}
