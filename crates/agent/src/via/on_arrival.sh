# Runs on a node, over ssh, as whoever logs in there. It says who and what it is, takes the program where the node has
# not the same one, and becomes the agent. There must be no single quote in it: it travels between two.
umask 077
say() { printf "%s\n" "$*"; }
own=$(command -v hopwise 2>/dev/null)
sum=
[ -z "$own" ] || sum=$(sha256sum 2>/dev/null <"$own" | cut -c1-64)
become=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        say hopwise-cannot sudo there is no sudo
        exit 77
    fi
    if ! why=$(sudo -n true 2>&1); then
        say hopwise-cannot sudo $why
        exit 77
    fi
    become="sudo -n"
fi
say hopwise-here "$(uname -s)" "$(uname -m)" "${sum:--}"
read -r word size sum || exit 77
case $word in
use)
    say hopwise-start
    exec $become "$own" on-node
    ;;
push) ;;
*) exit 77 ;;
esac
tried=
dir=
for base in /tmp /var/tmp /run /dev/shm "$HOME"; do
    dir=$(mktemp -d "$base/hopwise-XXXXXXXX" 2>/dev/null) || {
        tried="$tried $base:closed"
        dir=
        continue
    }
    trap "rm -rf \"$dir\"" EXIT
    trap "exit 77" HUP INT TERM
    free=$(df -Pk "$dir" 2>/dev/null | {
        read -r line
        read -r device blocks used free rest
        printf "%s" "$free"
    })
    if [ "${free:-$size}" -le $((size / 1024 + 64)) ] || ! printf "#!/bin/sh\nexit 0\n" >"$dir/try"; then
        tried="$tried $base:full"
    elif ! { chmod 700 "$dir/try" && "$dir/try"; } 2>/dev/null; then
        tried="$tried $base:noexec"
    else
        break
    fi
    rm -rf "$dir"
    dir=
done
if [ -z "$dir" ]; then
    say hopwise-cannot place $tried
    exit 77
fi
say hopwise-send
head -c "$size" >"$dir/hopwise" 2>/dev/null
if [ "$(wc -c <"$dir/hopwise")" -ne "$size" ]; then
    say hopwise-cannot place $tried "$base:full"
    exit 77
fi
if command -v sha256sum >/dev/null && [ "$(sha256sum <"$dir/hopwise" | cut -c1-64)" != "$sum" ]; then
    say hopwise-cannot place $tried "$base:damaged"
    exit 77
fi
chmod 700 "$dir/hopwise"
rm -f "$dir/try"
say hopwise-start
$become "$dir/hopwise" on-node --remove "$dir"
