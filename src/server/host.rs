//! What this host offers a broker: kernel, io_uring, limits, cores, and the disks under the log directories.
//!
//! [`facts`] gives all of it for a table; [`shortages`] only what is missing, each with its mend, for the
//! start. A fatal shortage means that the broker cannot run; with the others it runs worse than it could.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatFs};
use rustix::process::{Resource, Rlimit};

use crate::config::ServerConfig;

/// The first kernel with IORING_SETUP_DEFER_TASKRUN.
const KERNEL_MIN: (u32, u32) = (6, 1);
/// What an executor asks for before it starts.
const MEMLOCK_BYTES_MIN: u64 = 512 << 10;
/// Below this, some thousand connections or partitions are too many.
const OPEN_FILES_MIN: u64 = 16_384;
const FREE_BYTES_MIN: u64 = 1 << 30;
/// Counted on where there is no limit: what the kernel allows a process by default.
const OPEN_FILES_MAX: u64 = 1 << 20;
/// Descriptors that a process has in any case, and those of each core (rings, a listener, the blocking
/// threads' work).
const FILES_OF_PROCESS: usize = 32;
const FILES_OF_CORE: usize = 32;
/// However low the limit is.
const SEGMENT_FILES_MIN: usize = 16;
const CONNECTIONS_MIN: usize = 16;

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub name: &'static str,
    pub value: String,
    pub shortage: Option<Shortage>,
}

/// What is missing, and how to mend it; its text is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    pub what: String,
    pub mend: String,
    /// Whether the broker cannot run without it.
    pub is_fatal: bool,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.mend)
    }
}

impl Fact {
    fn fine(name: &'static str, value: impl Into<String>) -> Fact {
        Fact { name, value: value.into(), shortage: None }
    }

    fn fatal(self, what: impl Into<String>, mend: impl Into<String>) -> Fact {
        Fact { shortage: Some(Shortage { what: what.into(), mend: mend.into(), is_fatal: true }), ..self }
    }

    fn poor(self, what: impl Into<String>, mend: impl Into<String>) -> Fact {
        Fact { shortage: Some(Shortage { what: what.into(), mend: mend.into(), is_fatal: false }), ..self }
    }
}

/// Everything that is asked of the host, in the order of a table.
pub fn facts(config: &ServerConfig, cores: &[usize]) -> Vec<Fact> {
    let mut facts = vec![
        kernel(rustix::system::uname().release().to_string_lossy().as_ref()),
        io_uring(try_ring(), read_number("/proc/sys/kernel/io_uring_disabled")),
        memlock(rustix::process::getrlimit(Resource::Memlock)),
        open_files(rustix::process::getrlimit(Resource::Nofile)),
        cores_fact(cores, &usable_cores(), read_quota(Path::new("/sys/fs/cgroup/cpu.max"))),
    ];
    for dir in &config.log_dirs {
        facts.push(writable(dir));
        facts.push(disk(dir));
    }
    facts
}

/// What is missing of [`facts`].
pub fn shortages(config: &ServerConfig, cores: &[usize]) -> Vec<Shortage> {
    facts(config, cores).into_iter().filter_map(|fact| fact.shortage).collect()
}

/// The cores that this process may run on, in order.
pub fn usable_cores() -> Vec<usize> {
    match rustix::thread::sched_getaffinity(None) {
        Ok(set) => (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect(),
        // The call cannot fail for the calling thread; one core is there in any case.
        Err(_) => vec![0],
    }
}

/// What groups may keep on all cores together, in bytes.
pub fn group_memory_bytes(server: &ServerConfig) -> usize {
    usize::try_from(server.group_memory_bytes.unwrap_or_else(|| memory_bytes() / 4)).unwrap_or(usize::MAX)
}

/// The memory that this process may use, in bytes: the machine's, or what a container's control group allows.
fn memory_bytes() -> u64 {
    let machine = rustix::system::sysinfo();
    let machine = u64::from(machine.mem_unit).saturating_mul(machine.totalram);
    let allowed = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    allowed.and_then(|bytes| bytes.trim().parse().ok()).map_or(machine, |bytes: u64| bytes.min(machine))
}

/// The name of the file system that `dir` is on or will be made on.
pub fn file_system(dir: &Path) -> String {
    rustix::fs::statfs(nearest(dir)).map_or("unknown".to_owned(), |stat| file_system_name(&stat))
}

/// Raises the soft limits of open files and locked memory to what the hard ones allow. [`facts`] judges by
/// the hard ones.
pub fn raise_limits() {
    for resource in [Resource::Nofile, Resource::Memlock] {
        let limit = rustix::process::getrlimit(resource);
        // Raising up to the hard limit is always allowed; were it not, the soft one stays as it is.
        let _ = rustix::process::setrlimit(resource, Rlimit { current: limit.maximum, ..limit });
    }
}

/// How the process's open files are shared out: what it needs by itself and its pipes are put aside, of the
/// rest a quarter is for the files of segments, which are closed and opened again, and the other three for
/// connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// Of segments, for each core.
    pub segments_per_core: usize,
    /// Of all cores together.
    pub connections: usize,
}

impl OpenFiles {
    /// By the limit of this moment; see [`raise_limits`].
    pub fn shared_out(cores: usize, pipes_per_core: usize) -> OpenFiles {
        let limit = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(OPEN_FILES_MAX);
        OpenFiles::of(limit.min(OPEN_FILES_MAX) as usize, cores, pipes_per_core)
    }

    fn of(limit: usize, cores: usize, pipes_per_core: usize) -> OpenFiles {
        let own = FILES_OF_PROCESS + cores * (FILES_OF_CORE + 2 * pipes_per_core);
        let quarter = limit.saturating_sub(own) / 4;
        OpenFiles {
            segments_per_core: (quarter / cores).max(SEGMENT_FILES_MIN),
            connections: (3 * quarter).max(CONNECTIONS_MIN),
        }
    }
}

fn kernel(release: &str) -> Fact {
    let fact = Fact::fine("kernel", release);
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= KERNEL_MIN {
        return fact;
    }
    let (major, minor) = KERNEL_MIN;
    fact.fatal(
        format!("Linux {release} is older than {major}.{minor}, which the socket rings need"),
        "boot a newer kernel",
    )
}

/// Makes a ring as the socket rings are made, and drops it.
fn try_ring() -> io::Result<()> {
    let mut builder = io_uring::IoUring::<io_uring::squeue::Entry>::builder();
    builder.setup_single_issuer().setup_defer_taskrun();
    builder.build(8).map(drop)
}

fn io_uring(attempt: io::Result<()>, disabled: Option<u64>) -> Fact {
    let Err(error) = attempt else { return Fact::fine("io_uring", "allowed") };
    let fact = Fact::fine("io_uring", error.to_string());
    let what = format!("io_uring cannot be used: {error}");
    let mend = match (error.raw_os_error(), disabled) {
        (_, Some(2)) => "run 'sysctl -w kernel.io_uring_disabled=0' as root",
        (_, Some(1)) => {
            "run 'sysctl -w kernel.io_uring_disabled=0' as root, or put this user into kernel.io_uring_group"
        }
        (Some(libc::EPERM | libc::EACCES), _) => {
            "a seccomp profile forbids it: in a container use --security-opt seccomp=unconfined, or a profile \
             that allows io_uring_setup, io_uring_enter and io_uring_register"
        }
        (Some(libc::ENOSYS), _) => {
            "the kernel was built without it, or a seccomp profile hides it: in a container use \
             --security-opt seccomp=unconfined"
        }
        (Some(libc::ENOMEM), _) => "raise the memlock limit: 'ulimit -l unlimited'",
        (Some(libc::EINVAL), _) => "boot Linux 6.1 or newer",
        _ => "look into the kernel's log",
    };
    fact.fatal(what, mend)
}

fn memlock(limit: Rlimit) -> Fact {
    let text = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), bytes);
    let fact = Fact::fine("locked memory", text(limit.maximum));
    match limit.maximum {
        Some(maximum) if maximum < MEMLOCK_BYTES_MIN => fact.fatal(
            format!("only {} may be locked in memory, rings need {}", bytes(maximum), bytes(MEMLOCK_BYTES_MIN)),
            "raise it: 'ulimit -l unlimited', LimitMEMLOCK=infinity in a systemd unit, --ulimit memlock=-1 in Docker",
        ),
        _ => fact,
    }
}

fn open_files(limit: Rlimit) -> Fact {
    let fact =
        Fact::fine("open files", limit.maximum.map_or("unlimited".to_owned(), |files| files.to_string()));
    match limit.maximum {
        Some(files) if files < OPEN_FILES_MIN => fact.poor(
            format!("only {files} files may be open, connections and segments included"),
            "raise it: 'ulimit -Hn 1048576', LimitNOFILE=1048576 in a systemd unit, --ulimit nofile=1048576 in Docker",
        ),
        _ => fact,
    }
}

fn cores_fact(wanted: &[usize], usable: &[usize], quota: Option<f64>) -> Fact {
    let fact = Fact::fine("cores", format!("{} of {}", ranges(wanted), ranges(usable)));
    if let Some(missing) = wanted.iter().find(|core| !usable.contains(core)) {
        return fact.fatal(
            format!("core {missing} is not among those this process may use, {}", ranges(usable)),
            "name others with --cores, or widen the process's CPU affinity",
        );
    }
    match quota {
        Some(quota) if quota < wanted.len() as f64 => fact.poor(
            format!("{} cores share a CPU quota of {quota:.1}", wanted.len()),
            format!("run on {} with --cores, or raise the quota", quota.floor().max(1.0)),
        ),
        _ => fact,
    }
}

fn writable(dir: &Path) -> Fact {
    let fact = Fact::fine("log directory", dir.display().to_string());
    let nearest = nearest(dir);
    if !nearest.is_dir() {
        return fact.fatal(
            format!("{} is no directory", nearest.display()),
            "name another with -o log.dirs=PATH, or move it away",
        );
    }
    match rustix::fs::access(&nearest, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if nearest == dir => fact,
        Ok(()) => Fact { value: format!("{} (will be made)", dir.display()), ..fact },
        Err(error) => fact.fatal(
            format!("{} cannot be written: {error}", nearest.display()),
            "change its owner, or name another directory with -o log.dirs=PATH",
        ),
    }
}

fn disk(dir: &Path) -> Fact {
    let stat = match rustix::fs::statfs(nearest(dir)) {
        Ok(stat) => stat,
        Err(error) => return Fact::fine("disk", error.to_string()),
    };
    let block = u64::try_from(stat.f_bsize).unwrap_or(0);
    let (free, size) = (stat.f_bavail.saturating_mul(block), stat.f_blocks.saturating_mul(block));
    let name = file_system_name(&stat);
    judge_disk(dir, &name, free, size)
}

fn judge_disk(dir: &Path, name: &str, free: u64, size: u64) -> Fact {
    let fact = Fact::fine("disk", format!("{name}, {} free of {}", bytes(free), bytes(size)));
    let dir = dir.display();
    if ["nfs", "cifs", "smb2", "fuse", "9p", "ceph"].contains(&name) {
        let what = format!("{dir} is on {name}, which is slow to sync and unsure to lock");
        return fact.poor(what, "put log.dirs on a local disk with XFS or ext4");
    }
    if free < FREE_BYTES_MIN {
        return fact.poor(
            format!("only {} are free under {dir}", bytes(free)),
            "free some, or name another log.dirs",
        );
    }
    fact
}

/// `dir`, or the first of the directories above it that is there.
fn nearest(dir: &Path) -> PathBuf {
    let there = dir.ancestors().find(|path| !path.as_os_str().is_empty() && path.exists());
    there.unwrap_or(Path::new(".")).to_owned()
}

/// Names by the magic numbers of statfs(2).
fn file_system_name(stat: &StatFs) -> String {
    let magic = stat.f_type as u64 & 0xffff_ffff;
    let name = match magic {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x794c_7630 => "overlay",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0xca45_1a4e => "bcachefs",
        0x6969 => "nfs",
        0xff53_4d42 => "cifs",
        0xfe53_4d42 => "smb2",
        0x6573_5546 => "fuse",
        0x0102_1997 => "9p",
        0x00c3_6400 => "ceph",
        _ => return format!("file system {magic:#x}"),
    };
    name.to_owned()
}

fn read_number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The CPUs that the process's control group may use, of a file with `max 100000` or `150000 100000`.
fn read_quota(path: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(path).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

/// `0,2-5`, as `--cores` takes it.
fn ranges(cores: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for core in cores {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *core => *last = *core,
            _ => runs.push((*core, *core)),
        }
    }
    let text = |(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    runs.iter().map(text).collect::<Vec<_>>().join(",")
}

fn bytes(count: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(shift, _)| count >> shift > 0) {
        Some((shift, unit)) => format!("{:.1} {unit}", count as f64 / (1u64 << shift) as f64),
        None => format!("{count} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_fatal() {
        assert_eq!(kernel("6.1.0-13-amd64").shortage, None);
        assert_eq!(kernel("10.0").shortage, None);
        assert!(kernel("6.0.19").shortage.unwrap().is_fatal);
        assert!(kernel("5.15.0-1").shortage.unwrap().is_fatal);
    }

    #[test]
    fn each_way_of_forbidding_io_uring_has_its_mend() {
        let mend = |errno, disabled| {
            io_uring(Err(io::Error::from_raw_os_error(errno)), disabled).shortage.unwrap().mend
        };
        assert!(mend(libc::EPERM, Some(0)).contains("seccomp"));
        assert!(mend(libc::EPERM, None).contains("seccomp"));
        assert!(mend(libc::EPERM, Some(2)).contains("sysctl"));
        assert!(mend(libc::EPERM, Some(1)).contains("io_uring_group"));
        assert!(mend(libc::EINVAL, Some(0)).contains("6.1"));
        assert_eq!(io_uring(Ok(()), Some(1)).shortage, None);
    }

    #[test]
    fn open_files_are_shared_out() {
        let of = |limit, cores| {
            let files = OpenFiles::of(limit, cores, 64);
            (files.segments_per_core, files.connections)
        };
        assert_eq!(of(1024, 2), (84, 504));
        assert_eq!(of(1 << 20, 1), (262_096, 786_288));
        assert_eq!(of(256, 2), (SEGMENT_FILES_MIN, CONNECTIONS_MIN));
    }

    #[test]
    fn limits_are_judged_by_what_they_can_be_raised_to() {
        let limit = |current, maximum| Rlimit { current, maximum };
        assert_eq!(open_files(limit(Some(1024), Some(524_288))).shortage, None);
        assert!(!open_files(limit(Some(1024), Some(4096))).shortage.unwrap().is_fatal);
        assert!(memlock(limit(Some(65_536), Some(65_536))).shortage.unwrap().is_fatal);
        assert_eq!(memlock(limit(Some(65_536), None)).shortage, None);
    }

    #[test]
    fn cores_must_be_usable_and_covered_by_the_quota() {
        assert_eq!(cores_fact(&[0, 1], &[0, 1, 2], None).shortage, None);
        assert!(cores_fact(&[3], &[0, 1], None).shortage.unwrap().is_fatal);
        assert!(!cores_fact(&[0, 1], &[0, 1], Some(1.5)).shortage.unwrap().is_fatal);
        assert_eq!(cores_fact(&[0, 1], &[0, 1], Some(2.0)).shortage, None);
        assert_eq!(ranges(&[0, 2, 3, 4, 9]), "0,2-4,9");
    }

    #[test]
    fn a_directory_that_is_not_there_is_judged_by_the_one_above_it() {
        let above = tempfile::tempdir().unwrap();
        let fact = writable(&above.path().join("a/b"));
        assert_eq!(fact.shortage, None);
        assert!(fact.value.ends_with("(will be made)"));
        let file = above.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(writable(&file.join("x")).shortage.unwrap().is_fatal);
        assert_ne!(file_system(above.path()), "unknown");
    }

    #[test]
    fn a_network_disk_and_a_full_disk_are_poor() {
        let judge = |name, free| judge_disk(Path::new("/d"), name, free, 100 << 30).shortage;
        assert!(judge("nfs", 50 << 30).is_some_and(|shortage| !shortage.is_fatal));
        assert!(judge("xfs", 1 << 20).is_some());
        assert_eq!(judge("xfs", 50 << 30), None);
    }

    #[test]
    fn the_quota_of_a_control_group_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "150000 100000\n").unwrap();
        assert_eq!(read_quota(file.path()), Some(1.5));
        std::fs::write(file.path(), "max 100000\n").unwrap();
        assert_eq!(read_quota(file.path()), None);
    }
}
