# Does what each line of standard input says. `job N` starts /mnt/jobs/N.sh and reports its process and its end.
job() {
    (
        . "/mnt/jobs/$1.sh" >"/mnt/jobs/$1.out" 2>"/mnt/jobs/$1.err" </dev/null &
        echo "@$1 pid $!"
        wait $!
        status=$?
        echo $status >"/mnt/jobs/$1.end"
        echo "@$1 end $status"
    ) &
}
while IFS= read -r line; do
    eval "$line"
done
