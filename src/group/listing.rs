//! What is told of groups of every kind: ListGroups, DescribeGroups; and DeleteGroups.
