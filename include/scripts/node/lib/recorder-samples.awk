# One sample as a line of JSON without its closing brace, then a line `PID BYTES` for each of those who wrote most.
# A figure that could not be read has no key; it is never 0. Standard input: `FILE:LINE` of the files in /proc (grep reads
# them: mawk, which is Debian's awk, ends when one cannot be read). Nothing here that only gawk knows.
# Variables: t, disk_names (spaces between), etcd (file with etcd's metrics; "-": no etcd here), api (what the API server said:
# a status code; "": it was not asked), before (file with the bytes that each process had written a sample ago).
# Environment: PODS, FILESYSTEMS (JSON), MISSED.

function is_number(text) { return text ~ /^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$/ }
function put(name, json) { out = out ",\"" name "\":" json }
function put_or_miss(name, list, what) { if (list == "") miss(what); else put(name, "{" list "}") }
function miss(name) { missed = missed (missed == "" ? "" : ",") "\"" name "\"" }
function add(list, name, value) { return list (list == "" ? "" : ",") "\"" name "\":" value }

function etcd_figures(    line, parts, list) {
    while ((getline line < etcd) > 0) {
        if (line !~ /^etcd_/) continue
        split(line, parts, " ")
        if (parts[1] in key && is_number(parts[2]))
            list = add(list, key[parts[1]], parts[1] ~ /_sum$/ ? parts[2] : sprintf("%.0f", parts[2]))
    }
    put_or_miss("etcd", list, "etcd")
}

# Ready or not is said by a status code or by nobody's answering; 401, 403 and 404 say nothing about it.
function apiserver_state() {
    if (api == "200") put("apiserver", "{\"ready\":true}")
    else if (api == "000") put("apiserver", "{\"ready\":false,\"said\":\"silent\"}")
    else if (api ~ /^5[0-9][0-9]$/) put("apiserver", "{\"ready\":false,\"said\":\"" api "\"}")
    else miss("apiserver")
}

# total of a PSI line, in microseconds.
function pressure(what, line,    total) {
    total = line
    if (sub(/^.* total=/, "", total) && is_number(total)) pressures = add(pressures, what "_us", total)
}

# The first sample has nothing to compare with. A process that was not there a sample ago has written all of it since.
function writers(    line, f, i, pid, best, is_first) {
    is_first = 1
    while ((getline line < before) > 0) { split(line, f, " "); old[f[1]] = f[2]; is_first = 0 }
    close(before)
    printf "" > before
    for (pid in wrote) { print pid, wrote[pid] > before; wrote[pid] -= (pid in old) ? old[pid] : 0 }
    if (is_first) { miss("writers"); return }
    for (i = 0; i < 3; i++) {
        best = ""
        for (pid in wrote) if (wrote[pid] > 0 && (best == "" || wrote[pid] > wrote[best])) best = pid
        if (best == "") break
        top = top sprintf("\n%s %.0f", best, wrote[best])
        delete wrote[best]
    }
}

BEGIN {
    key["etcd_disk_wal_fsync_duration_seconds_sum"] = "fsync_sum"
    key["etcd_disk_wal_fsync_duration_seconds_count"] = "fsync_count"
    key["etcd_disk_backend_commit_duration_seconds_sum"] = "commit_sum"
    key["etcd_disk_backend_commit_duration_seconds_count"] = "commit_count"
    key["etcd_server_slow_apply_total"] = "slow_applies"
    key["etcd_server_has_leader"] = "has_leader"
    key["etcd_mvcc_db_total_size_in_bytes"] = "db_bytes"
    count = split(disk_names, names, " ")
    for (; count > 0; count--) wanted[names[count]] = 1
}

{ at = index($0, ":"); file = substr($0, 1, at - 1); $0 = substr($0, at + 1) }
file ~ /\/[0-9]+\/io$/ {
    count = split(file, parts, "/")
    if (is_number($2)) wrote[parts[count - 1]] = $2
    next
}
file ~ /\/diskstats$/ {
    if ($3 in wanted && is_number($6) && is_number($10) && is_number($13))
        disks = add(disks, $3, sprintf("{\"read_bytes\":%.0f,\"written_bytes\":%.0f,\"busy_ms\":%s}", $6 * 512, $10 * 512, $13))
    next
}
file ~ /\/pressure\/io$/ { pressure("io_" $1, $0); next }
file ~ /\/pressure\/[a-z]+$/ { if ($1 == "some") pressure((file ~ /cpu$/ ? "cpu" : "memory") "_some", $0); next }
file ~ /\/meminfo$/ { if (is_number($2)) available = sprintf("%.0f", $2 * 1024); next }
file ~ /\/loadavg$/ { if (is_number($1)) load1 = $1; next }

END {
    missed = ENVIRON["MISSED"]
    if (etcd != "-") etcd_figures()
    if (api != "") apiserver_state()
    if (ENVIRON["PODS"] != "") put("pods", ENVIRON["PODS"])
    put_or_miss("disks", disks, "disks")
    put_or_miss("pressure", pressures, "pressure")
    if (available == "") miss("memory"); else put("memory_available_bytes", available)
    if (load1 == "") miss("load"); else put("load1", load1)
    if (ENVIRON["FILESYSTEMS"] != "") put("filesystems", ENVIRON["FILESYSTEMS"])
    writers()
    printf "{\"t\":%s,\"missed\":[%s]%s%s\n", t, missed, out, top
}
