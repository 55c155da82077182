// The parts of the page, which rollup.config.mjs puts into the command as strings; of TypeScript the script for browsers.
declare module "*?text" {
  const text: string;
  export default text;
}
