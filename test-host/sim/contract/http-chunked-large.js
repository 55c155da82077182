fetchAll([
  { name: "chunked-big" },
], quit);
