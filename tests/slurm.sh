#!/usr/bin/env bash
# A campaign on a real Slurm: a controller and two nodes on this host, eight shards, one node killed in the middle.
#
#   tests/slurm.sh            not part of `cargo test`; takes some minutes
#   KEEP=1 tests/slurm.sh     leaves the folder with every log behind
#
# Shows, with the scripts of deploy/slurm/ as they are:
#   1. where Slurm may not start a task again, the merge names the shard that died with its node (exit 3); run again, that
#      shard goes on where it was killed, and the merge is then complete (exit 0);
#   2. where it may (--requeue), all that happens by itself.
# Both end with the causes and the reproducers of a run of the same units that was not sharded. In 2 these are new (exit 1);
# in 1 they are in the corpus already, for what is new would hide the 3.
#
# Needs slurm-wlm and munge and, as root on a Debian, installs them where they are missing. All else, the keys and the
# configuration included, is in a temporary folder. Ends only what it started, however it ends.
# HEISENBED names the program; without it, a release build is made.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly SHARDS=8 VICTIM=node2 PATIENCE_S=300
started_s=$SECONDS

say() { printf '[%3d s] %s\n' $((SECONDS - started_s)) "$*"; }
fail() {
    say "FAILED: $*" >&2
    exit 1
}

# wait_until WHAT COMMAND...: until the command succeeds.
wait_until() {
    local what=$1 until_s=$((SECONDS + PATIENCE_S))
    shift
    until "$@"; do
        ((SECONDS < until_s)) || fail "waited $PATIENCE_S s in vain for $what"
        sleep 0.1
    done
}

# ---- What is needed ------------------------------------------------------------------------------------------------

export PATH="$PATH:/usr/sbin:/sbin"
missing=()
for program in munged slurmctld slurmd sbatch; do
    command -v "$program" >/dev/null || missing+=("$program")
done
if ((${#missing[@]} > 0)); then
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        fail "${missing[*]} missing; install slurm-wlm and munge"
    fi
    say "installing slurm-wlm and munge"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurm-wlm munge; } \
        >/dev/null 2>&1 || fail "apt-get could not install slurm-wlm and munge"
fi

if [[ -z ${HEISENBED:-} ]]; then
    say "building heisenbed"
    cargo build --quiet --release
    HEISENBED=${CARGO_TARGET_DIR:-target}/release/heisenbed
fi
HEISENBED=$(realpath "$HEISENBED")
export HEISENBED

# ---- The cluster ---------------------------------------------------------------------------------------------------

# Short: the sockets' names are in it, and those have at most 107 bytes.
tmp=$(mktemp -d /tmp/hb-slurm.XXXXXX)
chmod 755 "$tmp"
export SLURM_CONF=$tmp/slurm.conf
declare -A daemon=()

# Processes of jobs of this cluster: they alone have its configuration and a node's name in their environment.
job_pids() {
    local node=$1 environ
    for environ in /proc/[0-9]*/environ; do
        # A process may end while it is looked at.
        if { tr '\0' '\n' <"$environ"; } 2>/dev/null | awk -v conf="SLURM_CONF=$SLURM_CONF" -v node="SLURMD_NODENAME=$node" \
            '$0 == conf { c = 1 } (node ~ /=$/ ? index($0, node) == 1 : $0 == node) { n = 1 } END { exit !(c && n) }'; then
            environ=${environ#/proc/}
            echo "${environ%/environ}"
        fi
    done
}

# The daemons of this cluster's nodes that watch over a job are the parents of the jobs' first processes.
watcher_pids() {
    local pid parent
    for pid in $(job_pids "$1"); do
        parent=$(awk '/^PPid:/ { print $2 }' "/proc/$pid/status" 2>/dev/null) || continue
        if [[ $(cat "/proc/${parent:-0}/comm" 2>/dev/null) == slurmstepd ]]; then echo "$parent"; fi
    done
}

cleanup() {
    local status=$? pid
    trap - EXIT
    # shellcheck disable=SC2046
    set -- $(watcher_pids '') $(job_pids '') "${daemon[@]}"
    for pid in "$@"; do kill -9 "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    if [[ -n ${KEEP:-} ]]; then
        say "everything is in $tmp"
    else
        if ((status != 0)); then tail -n 15 "$tmp"/*.log >&2 2>/dev/null || true; fi
        rm -rf "$tmp"
    fi
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Three free ports in a row.
port_in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
port=$((20000 + RANDOM % 10000))
while port_in_use $port || port_in_use $((port + 1)) || port_in_use $((port + 2)); do port=$((port + 3)); done

user=$(id -un)
cat >"$SLURM_CONF" <<END
ClusterName=heisenbed-test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
# cred_expire is also how long a task waits before it is started again; by default two minutes.
AuthInfo=socket=$tmp/munge/socket,cred_expire=20
StateSaveLocation=$tmp/state
SlurmdSpoolDir=$tmp/spool-%n
SlurmctldPidFile=$tmp/slurmctld.pid
SlurmdPidFile=$tmp/slurmd-%n.pid
SlurmctldLogFile=$tmp/slurmctld.log
SlurmdLogFile=$tmp/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MailProg=/bin/true
# A dead node is noticed soon, and taken back when it answers again.
SlurmdTimeout=10
ReturnToService=2
KillWait=2
# Ended jobs are asked for their exit status.
MinJobAge=3600
NodeName=node1 NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=2 RealMemory=8000
NodeName=node2 NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=2 RealMemory=8000
PartitionName=all Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
END
mkdir -p "$tmp/munge" "$tmp/state" "$tmp/spool-node1" "$tmp/spool-node2"
chmod 711 "$tmp/munge"
(umask 077 && head -c 1024 /dev/urandom >"$tmp/munge.key")

start() {
    local name=$1
    shift
    "$@" >"$tmp/$name.out.log" 2>&1 &
    daemon[$name]=$!
}
start_node() { start "$1" slurmd -D -N "$1"; }
node_is() { [[ $(sinfo -h -n "$1" -o %t 2>/dev/null) == "$2" ]]; }

start munged munged --foreground --key-file="$tmp/munge.key" --socket="$tmp/munge/socket" \
    --pid-file="$tmp/munge/pid" --seed-file="$tmp/munge/seed" --log-file="$tmp/munged.log"
wait_until "munged" test -S "$tmp/munge/socket"
start slurmctld slurmctld -D -i
start_node node1
start_node node2
wait_until "node1" node_is node1 idle
wait_until "node2" node_is node2 idle
say "$(slurmctld -V): a controller and two nodes are up"

# ---- The campaign --------------------------------------------------------------------------------------------------

# Two broken protocols, so that there are causes to be found; no real threads, so that what is found is no luck.
cat >"$tmp/my-fix.toml" <<'END'
name       = "my-fix"
allocate   = ["alloc", "mark-live", "lock lifecycle", "send ALLOC", "unlock lifecycle", "publish"]
deallocate = ["check-live", "lock lifecycle", "send FREE", "unlock lifecycle", "free", "mark-dead"]
END
cat >"$tmp/send-last.toml" <<'END'
name       = "send-last"
allocate   = ["alloc", "mark-live", "publish", "lock tracker", "send ALLOC", "unlock tracker"]
deallocate = ["check-live", "lock tracker", "send FREE", "unlock tracker", "free", "mark-dead"]
END
common=(--units "${UNITS:-160}" --unit-steps 1000000 --seed 7 --weights "explore=3,search=2"
    --discipline "$tmp/my-fix.toml,$tmp/send-last.toml" --order "track-first,free-first"
    --workload "own-buffers,handoff,mesh,shared-free" --semantics typed)

mkdir "$tmp/known"
cp corpus/reproducers/reported/*.toml "$tmp/known/"
fresh=("${common[@]}" --corpus corpus/reproducers/reported)
known=("${common[@]}" --corpus "$tmp/known")

# submit_shards OUT [sbatch options], of `campaign`: prints the number of the job.
submit_shards() {
    local out=$1
    shift
    sbatch --parsable --output="$tmp/task-%A-%a.log" "$@" deploy/slurm/campaign.sbatch $SHARDS "$out" "${campaign[@]}"
}
submit_merge() {
    sbatch --parsable --output="$tmp/merge-%j.log" --dependency="afterany:$2" deploy/slurm/merge.sbatch "$1"
}

job_field() { scontrol show job "$1" | grep -o "\b$2=[^ ]*" | head -n 1 | cut -d= -f2; }
ended() { [[ $(job_field "$1" JobState) =~ ^(COMPLETED|FAILED|NODE_FAIL|CANCELLED|TIMEOUT)$ ]]; }
exit_status() {
    wait_until "job $1" ended "$1"
    local code
    code=$(job_field "$1" ExitCode)
    echo "${code%:*}"
}
expect_exit() {
    local what=$1 job=$2 wanted=$3 status
    status=$(exit_status "$job")
    grep -h '^[0-9]* new\|^nothing new' "$tmp/merge-$job.log" | sed 's/^/        /' || true
    [[ $status == "$wanted" ]] || fail "$what: exit status $status, not $wanted (see merge-$job.log)"
    say "$what: exit $status, as it must"
}

# The shard that the victim works on, once it has done some units and if it has not ended.
victim_shard() {
    local job=$1 out=$2 shard
    for shard in $(squeue -h -j "$job" -w $VICTIM -t RUNNING -o %K); do
        local journal=$out/shard-$shard/journal.jsonl
        [[ -e $journal ]] || continue
        if (($(grep -c '"sort":"explore"' "$journal") >= 2)) && ! grep -q '"ended"' "$journal"; then
            echo "$shard"
            return 0
        fi
    done
    return 1
}
units_in() { grep -c '^{"unit"' "$1/journal.jsonl"; }
# The whole lines of a file: the last one is cut where its writer was killed.
whole_lines() { head -n "$(wc -l <"$1")" "$1"; }

# Kills a node and what runs there, as a power cut does. Sets `shard` to the shard that it worked on.
kill_node() {
    local job=$1 out=$2 watchers pids
    wait_until "a shard in the middle of its work on $VICTIM" victim_shard "$job" "$out" >/dev/null
    watchers=$(watcher_pids $VICTIM)
    pids=$(job_pids $VICTIM)
    [[ -n $watchers && -n $pids ]] || fail "found no processes of the job on $VICTIM"
    shard=$(squeue -h -j "$job" -w $VICTIM -t RUNNING -o %K)
    # shellcheck disable=SC2086
    kill -9 "${daemon[$VICTIM]}" $watchers $pids
    wait "${daemon[$VICTIM]}" 2>/dev/null || true
    whole_lines "$out/shard-$shard/journal.jsonl" >"$tmp/when-killed.jsonl"
    before=$(grep -c '^{"unit"' "$tmp/when-killed.jsonl")
    grep -q '"ended"' "$tmp/when-killed.jsonl" && fail "shard $shard had ended before it was killed"
    say "killed $VICTIM and its job (slurmd, slurmstepd, heisenbed) with $before units of shard $shard/$SHARDS done"
}

# same_as WHOLE MERGED: what was found must be what one machine finds alone.
same_as() {
    local whole=$tmp/$1 merged=$2
    diff <(causes_in "$whole") <(causes_in "$merged") || fail "$merged has other causes than $whole"
    diff -r "$whole/reproducers" "$merged/reproducers" || fail "$merged has other reproducers than $whole"
    [[ $(units_in "$merged") == $(units_in "$whole") ]] || fail "$merged has not the units of $whole"
    say "merged: the $(causes_in "$whole" | wc -l) causes and, byte for byte, the reproducers of one machine alone"
}
causes_in() { grep '"id":' "$1/summary.json" | sort; }

# A shard that went on has every line that it had when it was killed, with its times, and no unit twice.
resumed() {
    local journal=$1/journal.jsonl twice
    cmp -s "$tmp/when-killed.jsonl" <(head -n "$(wc -l <"$tmp/when-killed.jsonl")" "$journal") ||
        fail "$1 does not begin as it was when it was killed"
    twice=$(grep -o '^{"unit":{"unit":[0-9]*' "$journal" | sort | uniq -d | wc -l)
    [[ $twice == 0 ]] || fail "$1 did $twice units twice"
    say "shard $shard/$SHARDS went on after its $before units and ended with $(units_in "$1"), none of them done twice"
}

# alone NAME WANTED OPTIONS...: a run that is not sharded.
alone() {
    local name=$1 wanted=$2 status=0
    shift 2
    "$HEISENBED" campaign run --out "$tmp/$name" --workers 2 --quiet "$@" >"$tmp/$name.log" || status=$?
    [[ $status == "$wanted" ]] || fail "one machine alone: exit status $status, not $wanted (see $name.log)"
    say "one machine alone: exit $status, $(causes_in "$tmp/$name" | wc -l) causes in $(units_in "$tmp/$name") units"
}

alone whole-fresh 1 "${fresh[@]}"
cp "$tmp"/whole-fresh/reproducers/*.toml "$tmp/known/"
alone whole-known 0 "${known[@]}"

say "--- 1. a node dies, and Slurm may not start its task again"
campaign=("${known[@]}")
job=$(submit_shards "$tmp/first" --no-requeue --array=1-$SHARDS)
merge=$(submit_merge "$tmp/first" "$job")
kill_node "$job" "$tmp/first"
expect_exit "merge without shard $shard/$SHARDS" "$merge" 3
grep -q "missing are $shard/$SHARDS;" "$tmp/merge-$merge.log" || fail "the merge did not name shard $shard/$SHARDS alone"
start_node $VICTIM
wait_until "$VICTIM to come back" node_is $VICTIM idle
again=$(submit_shards "$tmp/first" --no-requeue --array="$shard")
merge=$(submit_merge "$tmp/first" "$again")
expect_exit "merge after shard $shard/$SHARDS was run again" "$merge" 0
resumed "$tmp/first/shard-$shard"
same_as whole-known "$tmp/first/merged"

say "--- 2. a node dies, and Slurm starts its task again"
campaign=("${fresh[@]}")
job=$(submit_shards "$tmp/second" --array=1-$SHARDS)
merge=$(submit_merge "$tmp/second" "$job")
kill_node "$job" "$tmp/second"
expect_exit "merge with nobody's help" "$merge" 1
restarts=$(scontrol show job "${job}_$shard" | grep -o 'Restarts=[0-9]*' | head -n 1)
[[ $restarts == Restarts=1 ]] || fail "shard $shard was not started again by Slurm: $restarts"
resumed "$tmp/second/shard-$shard"
same_as whole-fresh "$tmp/second/merged"

say "passed"
