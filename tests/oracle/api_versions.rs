//! ApiVersions: the table of what is served, client names, unknown versions.

use serde_json::json;

use crate::cases::{Case, every, newest};
use crate::harness::connection::request_header;
use crate::harness::message;

pub const API: &str = "ApiVersions";

pub const CASES: &[Case] = &[
    every("the table", |pair, v| {
        pair.both(API, v, json!({"clientSoftwareName": "judge", "clientSoftwareVersion": "1.0"}));
    }),
    every("odd client names", |pair, v| {
        for (name, version) in
            [("", ""), ("a b", "1"), ("-a", "1"), ("a", "1-"), ("ä", "1"), ("a.b-c", "1.2-rc")]
        {
            pair.both(API, v, json!({"clientSoftwareName": name, "clientSoftwareVersion": version}));
        }
    }),
    newest("unknown versions get version 0 and one entry", |pair, _| {
        for version in [5i16, 6, 100, i16::MAX, -1, i16::MIN] {
            let mut frame = request_header(message(API), 0, 7);
            frame[2..4].copy_from_slice(&version.to_be_bytes());
            pair.frame(&frame);
            frame.extend([0, 2, b'a', 2, b'b', 0]);
            pair.frame(&frame);
        }
    }),
    newest("a body that ends too soon", |pair, _| {
        for version in 3..=4 {
            pair.body(API, version, &[]);
            pair.body(API, version, &[9, b'a']);
        }
    }),
    newest("bytes after the body", |pair, _| {
        pair.body(API, 0, &[1, 2, 3]);
        pair.body(API, 3, &[2, b'a', 2, b'b', 0, 1, 2, 3]);
    }),
];
