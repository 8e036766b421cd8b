-- +goose Up
-- Which ledger this is: its copies and backups keep the identity, so that an earlier copy is told from another ledger.
create table this_ledger (
  id       integer primary key check (id = 1),
  identity text    not null,
  copied   text    not null default '' -- what came from another store and how it was then, JSON; empty: nothing came
);
insert into this_ledger (id, identity) values (1, lower(hex(randomblob(16))));

-- +goose Down
drop table this_ledger;
