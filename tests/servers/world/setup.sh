# In namespaces of its own, with the rights to arrange them: $1 is the world's directory, $2 has the binaries, $3 says
# whether the loopback is up. Then goes on as an ordinary user, whose home, /tmp, /run and /dev/shm are its own.
set -e
if [ "$3" = up ]; then
    ip link set lo up
    ip address add 10.0.2.15/32 dev lo
fi
mount --bind "$2" /srv
mount --bind "$1" /mnt
mount --bind /mnt/passwd /etc/passwd
for directory in /tmp /dev/shm /run; do
    mount -t tmpfs -o mode=1777 tmpfs "$directory"
done
shift 3
exec setpriv --ambient-caps=-all --inh-caps=-all sh /mnt/init.sh "$@"
