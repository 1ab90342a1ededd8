#!/usr/bin/env bash
# Start a SLURM cluster for tests: this machine as its one node, with two stand-in GPUs, all on loopback. It is told to have
# four cores and 16 GB, whatever it has: what is tested asks for more than it takes.
#     tests/cluster/start.sh FOLDER [PORT]
# Needs root and `apt-get install --no-install-recommends slurm-wlm munge`, but neither systemd, cgroups nor a database.
# State, logs and process ids go to FOLDER; the configuration must lie in /etc/slurm, because job steps are started without
# the variable that names another place. A cluster that is configured there already is left alone.
set -euo pipefail
folder=$(realpath -m "$1") port=${2:-16817} etc=/etc/slurm mark="# a test cluster of Supercosm"
host=$(hostname -s)

for file in slurm.conf gres.conf; do
    if [ -e "$etc/$file" ] && ! grep -q "^$mark" "$etc/$file"; then
        echo "$etc/$file belongs to another cluster; no second one is started here" >&2
        exit 1
    fi
done
mkdir -p "$folder"/{state,spool,log,run} "$etc"

(umask 077 && head -c 1024 /dev/urandom > "$folder/munge.key")
munged --force --key-file="$folder/munge.key" --socket="$folder/run/munge.socket" --num-threads=1 \
    --pid-file="$folder/run/munged.pid" --log-file="$folder/log/munged.log" --seed-file="$folder/run/munged.seed"

touch "$folder/run/gpu0" "$folder/run/gpu1"  # SLURM counts device files, whatever they are
cat > "$etc/gres.conf" <<CONF
$mark
AutoDetect=off
Name=gpu Type=none File=$folder/run/gpu[0-1]
CONF
cat > "$etc/slurm.conf" <<CONF
$mark
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
AuthInfo=socket=$folder/run/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=600
KillWait=10
JobRequeue=1
ReturnToService=2
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000 Gres=gpu:none:2
PartitionName=cpu Nodes=$host Default=YES
PartitionName=gpu Nodes=$host
CONF
slurmctld -c
slurmd -c
for _ in $(seq 60); do
    [ "$(sinfo --noheader --partition cpu --format %T 2> /dev/null)" = idle ] && exit 0
    sleep 0.5
done
sinfo --Node --long >&2
tail "$folder"/log/*.log >&2
exit 1
