//! The file layer.

/// An open segment file. `AsFd`, `Send` and `Sync`: another core may splice from it while its owner appends.
pub struct SegmentFile {
    fd: std::os::fd::OwnedFd,
}

impl std::os::fd::AsFd for SegmentFile {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
