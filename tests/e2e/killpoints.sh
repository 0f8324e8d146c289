# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# The supervisor is killed just before each call by which it changes something, one after the other, on the way through one operation of a
# guest: what is found afterwards is the tree as it was, or as it is when nobody is killed. KAPSEL_OPERATIONS: names of those to look at, or all.
. "$STAGE/e2e/lib.sh"

command -v strace >/dev/null 2>&1 || skip_rest "no strace here"
mkdir -p t/d/e t/empty t/full/in
for f in t/f t/d/a t/d/e/b t/full/in/c; do echo "this is $f" >$f; done
ln t/f t/g
ln t/f t/d/h
ln -s f t/l
chmod 640 t/d/a
find t -exec touch -h -d @1000000000 {} +
tar -cf t.tar t
cat >killpoints.yaml <<'M'
kapsel: 1
name: killpoints
version: "1"
entry: {command: [/bin/sh], cwd: /}
contents:
  - elf: [/bin/sh, /bin/chmod, /usr/bin/truncate, /bin/mv, /bin/rm, /bin/rmdir, /bin/mkdir, /bin/ln, /usr/bin/touch, /usr/bin/find, /usr/bin/cksum, /usr/bin/perl]
  - tar: t.tar
M
try "$KAPSEL" pack --quiet killpoints.yaml -o killpoints.kapsel
expect_status 0 "packed"
calls=openat,renameat,renameat2,linkat,symlinkat,mkdirat,mknodat,unlinkat,utimensat,fsetxattr,setxattr,fremovexattr,fchmodat,fchmod,fchownat,ftruncate,pwrite64

tree() { # INSTANCE: times of this run are all one
  "$KAPSEL" run --quiet --instance "$1" killpoints.kapsel -- /bin/sh -c 'cd / && find t -printf "%p %y %m %Ts %l " \( ! -type d -printf "%n %s" -o -true \) -printf "\n";
    find t -type f -exec cksum {} +' 2>&1 </dev/null | awk '$4 > 1300000000 { $4 = "now" } { print }' | sort
}

killed_before() { # N COMMAND: true if it came so far
  "$KAPSEL" rm k 2>/dev/null
  : >said
  # On one processor one thread serves all calls: strace counts by thread.
  taskset -c "$cpu" "$KAPSEL" run --quiet --instance k killpoints.kapsel -- /bin/sh -c "$prepare; echo ready; read x; $2; echo done" <go >said 2>&1 &
  front=$!
  exec 8>go
  while ! grep -q ready said && kill -0 $front 2>/dev/null; do sleep 0.02; done
  supervisor=$(cat "/proc/$front/task/$front/children")
  strace -f -qq -o /dev/null -e trace=$calls -e inject="$calls:signal=KILL:when=$1" -p "${supervisor%% *}" 2>strace.err &
  tracer=$!
  while grep -q '^TracerPid:.0$' /proc/"${supervisor%% *}"/task/*/status 2>/dev/null && kill -0 $tracer 2>/dev/null; do sleep 0.02; done
  echo >&8
  exec 8>&-
  wait $front 2>/dev/null
  wait $tracer 2>/dev/null
  grep -q 'the supervisor died' said
}

through() { # NAME COMMAND [BEFORE]
  case " $operations " in *" $1 "* | *" all "*) ;; *) return ;; esac
  prepare=${3:-:}
  "$KAPSEL" rm whole 2>/dev/null
  "$KAPSEL" run --quiet --instance whole killpoints.kapsel -- /bin/sh -c "$prepare"
  tree whole >old
  "$KAPSEL" run --quiet --instance whole killpoints.kapsel -- /bin/sh -c "$2"
  tree whole >new
  at=0 bad=
  while at=$((at + 1)) && [ $at -lt 300 ] && killed_before $at "$2"; do
    tree k >found
    cmp -s found old || cmp -s found new || { bad=$at && break; }
    "$KAPSEL" verify --quiet k || { bad=$at && break; }
  done
  if [ -n "$bad" ]; then
    { diff old found; echo "--- new"; diff new found; } >differs
    not_ok "$1: killed before its change $bad" differs strace.err
  elif [ $at = 1 ]; then
    not_ok "$1: nobody was killed" strace.err said
  else
    ok "$1: $((at - 1)) kills"
  fi
}

operations=${KAPSEL_OPERATIONS:-chmod-link empty-open rename-over-dir exchange create}
mkfifo go
cpu=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
through chmod 'chmod 600 /t/d/e/b'
through chmod-dir 'chmod 700 /t/d'
through chmod-link 'chmod 600 /t/d/h'
through empty 'truncate -s 0 /t/d/e/b'
through empty-open ': >/t/d/e/b'
through shorten 'truncate -s 3 /t/d/e/b'
through touch 'touch -d @1100000000 /t/d/e/b'
through unlink 'rm -f /t/d/a'
through unlink-link 'rm -f /t/g'
through rename 'mv /t/d/a /t/empty/z'
through rename-dir 'mv /t/d /t/full/in/z'
through rename-over-dir 'perl -e "rename(q(/t/full/in), q(/t/empty))"' 'rm /t/full/in/c'
through rename-over-whiteout 'mv -T /t/d /t/x' 'mkdir /t/x; rmdir /t/x; mv /t/empty /t/x; rmdir /t/x'
through exchange 'perl -e "(\$a, \$b) = (q(/t/d), q(/t/full/in)); syscall(316, -100, \$a, -100, \$b, 2)"'
through link 'ln /t/d/a /t/empty/z'
through mkdir 'mkdir -m 500 /t/empty' 'rmdir /t/empty'
through create 'perl -e "\$a = q(/t/d/e/n); syscall(2, \$a, 0301, 0400)"'
through rmdir 'rmdir /t/full/in' 'rm /t/full/in/c; mkdir /t/full/in/x; rmdir /t/full/in/x'
finish
