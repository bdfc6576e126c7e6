// Package backup takes base backups over the replication protocol.
//
// Its invariant: a backup exists when its description does, and that is written last: after every part is durable, every
// file in it has been compared with the server's own manifest, the server has said that the backup is complete, and the
// archived WAL reaches to where the backup is consistent. Whatever ends it before leaves nothing visible. Memory is fixed,
// whatever the size of the cluster, but for a few bytes per file.
package backup
