// What the interpreter has of ECMAScript. Everything else is removed from the program's realm, so that its use fails
// as it does on the device. The list was made by asking the real interpreter for every name Node 20 knows.

export const GLOBALS = words(
  `Object Function Array Number parseFloat parseInt Infinity NaN undefined Boolean String Date RegExp Error
  ReferenceError SyntaxError TypeError globalThis JSON Math ArrayBuffer Uint8Array Int8Array Uint16Array Int16Array
  Uint32Array Int32Array Float32Array Float64Array Uint8ClampedArray DataView decodeURIComponent encodeURIComponent
  eval isFinite isNaN`,
);

/** Static properties that stay, by constructor. */
export const STATICS: Record<string, string[]> = {
  Object: words(
    `assign getOwnPropertyDescriptor getOwnPropertyDescriptors getOwnPropertyNames create defineProperties
    defineProperty getPrototypeOf setPrototypeOf keys entries fromEntries values`,
  ),
  Array: words("isArray"),
  String: words("fromCharCode"),
  Number: words("MAX_VALUE MIN_VALUE NaN NEGATIVE_INFINITY POSITIVE_INFINITY"),
  Math: words(
    `abs acos asin atan atan2 ceil cos exp floor log max min pow random round sign sin sqrt tan E LN10 LN2 LOG10E
    LOG2E PI SQRT1_2 SQRT2`,
  ),
  JSON: words("parse stringify"),
  Date: words("now parse"),
  ArrayBuffer: [],
  Uint8Array: [],
  RegExp: [],
  Function: [],
  Boolean: [],
  DataView: [],
};

const TYPED = words(
  `buffer byteLength byteOffset length every fill filter find findIndex forEach includes indexOf join map reverse
  reduce set slice some sort subarray toString`,
);

/** Instance properties that stay, by constructor. */
export const INSTANCE: Record<string, string[]> = {
  Array: words(
    `length concat fill find findIndex pop push reverse shift unshift slice sort splice includes indexOf join forEach
    filter map every some reduce toString`,
  ),
  String: words(
    `length charAt charCodeAt concat endsWith includes indexOf lastIndexOf match padEnd padStart repeat replace
    replaceAll slice split substr substring startsWith toString trim toLowerCase toUpperCase valueOf`,
  ),
  Number: words("toFixed toString valueOf"),
  Object: words("hasOwnProperty toString valueOf __proto__"),
  Function: words("length apply bind call toString"),
  Boolean: words("toString valueOf"),
  RegExp: words("exec source toString test"),
  Date: words(
    `toString toISOString toUTCString getDate setDate getDay getFullYear setFullYear getHours setHours getMilliseconds
    setMilliseconds getMinutes setMinutes getMonth setMonth getSeconds setSeconds getTime setTime getTimezoneOffset
    getUTCDate getUTCDay getUTCFullYear getUTCHours getUTCMilliseconds getUTCMinutes getUTCMonth getUTCSeconds valueOf
    toJSON`,
  ),
  Error: words("type toString"),
  TypeError: words("type"),
  SyntaxError: words("type"),
  ReferenceError: words("type"),
  ArrayBuffer: words("byteLength"),
  TypedArray: TYPED,
  DataView: words(
    `buffer byteLength byteOffset getInt8 setInt8 getUint8 setUint8 getInt16 setInt16 getUint16 setUint16 getInt32
    setInt32 getUint32 setUint32 getFloat32 setFloat32 getFloat64 setFloat64`,
  ),
};

export const TYPED_ARRAYS = words(
  "Uint8Array Int8Array Uint16Array Int16Array Uint32Array Int32Array Float32Array Float64Array Uint8ClampedArray",
);

function words(text: string): string[] {
  return text.trim().split(/\s+/);
}
