#!/usr/bin/env bash
# Stop the daemons that start.sh started in FOLDER, and what runs in their jobs, by their process ids.
#     tests/cluster/stop.sh FOLDER
set -uo pipefail
folder=$(realpath -m "$1")

if [ -s "$folder/run/slurmctld.pid" ]; then
    timeout 10 scancel --user "$(id -un)"
    for _ in $(seq 30); do
        [ -z "$(timeout 10 squeue --noheader)" ] && break
        sleep 0.5
    done
fi
for daemon in slurmd slurmctld munged; do
    file="$folder/run/$daemon.pid"
    [ -s "$file" ] || continue
    pid=$(cat "$file")
    kill "$pid" 2> /dev/null || continue
    for _ in $(seq 20); do
        kill -0 "$pid" 2> /dev/null || break
        sleep 0.25
    done
    kill -9 "$pid" 2> /dev/null
done
for file in /etc/slurm/slurm.conf /etc/slurm/gres.conf; do
    grep -q "$folder/run" "$file" 2> /dev/null && rm "$file"
done
exit 0
