set -m
sleep 300 &
sleep 301 &
jobs -r | wc -l
kill -STOP %1
for ((i = 0; i < 300; i++)); do
  [[ -z $(jobs -s) ]] || break
  sleep 0.1
done
jobs -s | wc -l
kill -CONT %1
kill %1 %2
wait 2>/dev/null
jobs | grep -c Running
( exit 7 ) & wait $!; echo "status $?"
trap 'echo "trapped $1"' USR1
kill -USR1 $$
echo {a..e} "${BASH_VERSINFO[0]}"
coproc cat
echo through >&"${COPROC[1]}"
read -r line <&"${COPROC[0]}"
echo "$line"
[[ $(type -t cd) == builtin ]] && echo builtin
diff <(echo 1) <(echo 2) | head -n 1
