//! The `quorum-state` file: who leads the quorum in which epoch, one line of JSON.
//!
//! ```text
//! version 1 (kraft.version 1)  {"leaderId":1,"leaderEpoch":2,"votedId":-1,"votedDirectoryId":"AAAA…","data_version":1}
//! version 0 (kraft.version 0)  {"clusterId":"","leaderId":1,"leaderEpoch":2,"votedId":-1,"appliedOffset":0,
//!                               "currentVoters":[{"voterId":1}],"data_version":0}
//! ```
//! It is written, durably, before the first batch of its epoch, so that no epoch is ever used twice.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::storage::file;
use crate::types::{LeaderEpoch, NodeId, TopicId};

const FILE_NAME: &str = "quorum-state";

/// The leader of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumStateFile {
    pub leader_id: NodeId,
    pub leader_epoch: LeaderEpoch,
    /// 0 for quorums whose voters stand in the configuration, 1 for those whose voters are records.
    pub kraft_version: i16,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version1 {
    leader_id: i32,
    leader_epoch: i32,
    voted_id: i32,
    voted_directory_id: String,
    #[serde(rename = "data_version")]
    data_version: i16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version0 {
    cluster_id: String,
    leader_id: i32,
    leader_epoch: i32,
    voted_id: i32,
    applied_offset: i64,
    current_voters: Vec<Voter>,
    #[serde(rename = "data_version")]
    data_version: i16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Voter {
    voter_id: i32,
}

/// What both versions have and a reader needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Common {
    leader_id: i32,
    leader_epoch: i32,
    #[serde(rename = "data_version")]
    data_version: i16,
}

impl QuorumStateFile {
    /// Reads the file of a metadata log's directory; `None` where there is none.
    pub fn read(dir: &Path) -> io::Result<Option<QuorumStateFile>> {
        let path = dir.join(FILE_NAME);
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let invalid =
            |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()));
        let state: Common = serde_json::from_str(&text).map_err(|e| invalid(e.to_string()))?;
        if !(0..=1).contains(&state.data_version) {
            return Err(invalid(format!("data_version {} is unknown", state.data_version)));
        }
        Ok(Some(QuorumStateFile {
            leader_id: NodeId(state.leader_id),
            leader_epoch: LeaderEpoch(state.leader_epoch),
            kraft_version: state.data_version,
        }))
    }

    /// Replaces the file; durable when it returns.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        file::replace(&dir.join(FILE_NAME), self.encode().as_bytes())
    }

    fn encode(&self) -> String {
        let (leader_id, leader_epoch) = (self.leader_id.0, self.leader_epoch.0);
        let text = if self.kraft_version > 0 {
            serde_json::to_string(&Version1 {
                leader_id,
                leader_epoch,
                voted_id: -1,
                voted_directory_id: TopicId::ZERO.to_string(),
                data_version: 1,
            })
        } else {
            serde_json::to_string(&Version0 {
                cluster_id: String::new(),
                leader_id,
                leader_epoch,
                voted_id: -1,
                applied_offset: 0,
                current_voters: vec![Voter { voter_id: leader_id }],
                data_version: 0,
            })
        };
        text.expect("numbers and strings are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_kafkas_text_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut state =
            QuorumStateFile { leader_id: NodeId(1), leader_epoch: LeaderEpoch(2), kraft_version: 1 };
        let expected = "{\"leaderId\":1,\"leaderEpoch\":2,\"votedId\":-1,\
                        \"votedDirectoryId\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"data_version\":1}";
        assert_eq!(state.encode(), expected);
        state.write(dir.path()).unwrap();
        assert_eq!(QuorumStateFile::read(dir.path()).unwrap(), Some(state));
        state.kraft_version = 0;
        let expected = "{\"clusterId\":\"\",\"leaderId\":1,\"leaderEpoch\":2,\"votedId\":-1,\
                        \"appliedOffset\":0,\"currentVoters\":[{\"voterId\":1}],\"data_version\":0}";
        assert_eq!(state.encode(), expected);
        state.write(dir.path()).unwrap();
        assert_eq!(QuorumStateFile::read(dir.path()).unwrap(), Some(state));
    }
}
