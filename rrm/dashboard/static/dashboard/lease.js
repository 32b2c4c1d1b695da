// A lease of the timeline in the words of the stream's `tiles` events.

export function tilesEvent(lease) {
  return { ...lease, lease: lease.id, started_at: lease.created_at };
}
