-- +goose Up
-- How far retention got: the last identity of each kind that it has dealt with. What it emptied it never reads again.
create table upkeep (
  kind    text    primary key, -- bodies, events
  reached integer not null
);

-- Bodies that retention passed by because their deliveries were not decided: it comes back for them.
create table kept_bodies (
  delivery_id integer primary key references deliveries (id)
);

-- What else a delivery is there for, when its event goes.
create index events_by_delivery on events (delivery_id) where delivery_id is not null;
create index resends_by_delivery on resends (delivery_id);

-- What was set aside is found, and counted, without reading what waits.
create index undecided_set_aside on undecided (delivery_id) where set_aside_at is not null;

-- Lists by what a filter names, in their own order, however few there are of it.
create index invitations_by_source on invitations (source, id);
create index invitations_by_source_and_state on invitations (source, state, id);
create index events_by_source on events (source, id);
create index events_by_type on events (type, id);

-- +goose Down
drop index events_by_type;
drop index events_by_source;
drop index invitations_by_source_and_state;
drop index invitations_by_source;
drop index undecided_set_aside;
drop index resends_by_delivery;
drop index events_by_delivery;
drop table kept_bodies;
drop table upkeep;
