import GRDB

/// The tables, and how those of an older Kairos become these.
///
///     dataset   by GUID: a name may change
///     snapshot  of a dataset; `whole`: every change since the one before is in `change`; `createtxg` and `creation`: as ZFS tells them,
///               NULL until it was asked
///     actor     who: a process's name and its user
///     change    what a snapshot captured: one row for a file and an actor, its operations together
///
/// Times are milliseconds since 1970. Paths are bytes, from the dataset's root, without a leading slash.
enum JournalSchema {
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("v1") { database in
            try database.execute(
                sql: """
                    CREATE TABLE dataset (
                      id INTEGER PRIMARY KEY,
                      guid INTEGER NOT NULL UNIQUE,
                      name TEXT NOT NULL
                    );
                    CREATE TABLE snapshot (
                      id INTEGER PRIMARY KEY,
                      dataset INTEGER NOT NULL REFERENCES dataset(id) ON DELETE CASCADE,
                      name TEXT NOT NULL,
                      taken INTEGER NOT NULL,
                      trigger TEXT NOT NULL,
                      whole INTEGER NOT NULL,
                      UNIQUE (dataset, name)
                    );
                    CREATE TABLE actor (
                      id INTEGER PRIMARY KEY,
                      command BLOB NOT NULL,
                      user INTEGER NOT NULL,
                      UNIQUE (command, user)
                    );
                    CREATE TABLE change (
                      snapshot INTEGER NOT NULL REFERENCES snapshot(id) ON DELETE CASCADE,
                      dataset INTEGER NOT NULL,
                      path BLOB NOT NULL,
                      new_path BLOB,
                      inode INTEGER NOT NULL,
                      generation INTEGER NOT NULL,
                      kinds INTEGER NOT NULL,
                      actor INTEGER NOT NULL REFERENCES actor(id),
                      pid INTEGER NOT NULL,
                      first INTEGER NOT NULL,
                      last INTEGER NOT NULL
                    );
                    CREATE INDEX change_path ON change (dataset, path);
                    CREATE INDEX change_new_path ON change (dataset, new_path) WHERE new_path IS NOT NULL;
                    CREATE INDEX change_snapshot ON change (snapshot);
                    CREATE INDEX change_gone ON change (dataset, last) WHERE kinds & 96 <> 0;
                    """)
        }
        migrator.registerMigration("v2") { database in
            try database.execute(
                sql: """
                    ALTER TABLE snapshot ADD COLUMN createtxg INTEGER;
                    ALTER TABLE snapshot ADD COLUMN creation INTEGER;
                    """)
        }
        return migrator
    }
}
