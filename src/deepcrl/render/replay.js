"use strict";
(() => {
// World: metres, z up. Quaternions are w, x, y, z. Matrices are column by column, as WebGL has them.
const scene = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const canvas = element("view");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

const FIELD_OF_VIEW = Math.PI / 4;
const SUN = normalise([-0.42, -0.5, 0.95]);
const SHADOW_SIZE = 2048;
const MAX_OCCLUDERS = 40;
const MAX_BLOCKS = 64;
const CONTACT_SIZE = 512;
const TRAIL_WIDTH = 2.6;
const SMALL_MAZE = 24;

// ---- Vectors and matrices

function add(a, b) { return [a[0] + b[0], a[1] + b[1], a[2] + b[2]]; }
function subtract(a, b) { return [a[0] - b[0], a[1] - b[1], a[2] - b[2]]; }
function scale(a, s) { return [a[0] * s, a[1] * s, a[2] * s]; }
function dot(a, b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
function cross(a, b) { return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]; }
function normalise(a) { return scale(a, 1 / Math.hypot(...a)); }
function mix(a, b, s) { return a.map((value, k) => value + (b[k] - value) * s); }

function quaternionProduct([a, b, c, d], [e, f, g, h]) {
  return [a * e - b * f - c * g - d * h, a * f + b * e + c * h - d * g,
    a * g - b * h + c * e + d * f, a * h + b * g - c * f + d * e];
}

function rotation([w, x, y, z]) {
  return [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y),
    2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x),
    2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)];
}

function turned(m, v) {
  return [0, 1, 2].map((k) => m[k] * v[0] + m[3 + k] * v[1] + m[6 + k] * v[2]);
}

function product(a, b) {
  const out = new Float32Array(16);
  for (let column = 0; column < 4; column++) {
    for (let row = 0; row < 4; row++) {
      for (let k = 0; k < 4; k++) out[4 * column + row] += a[4 * k + row] * b[4 * column + k];
    }
  }
  return out;
}

function lookAt(eye, direction, up) {
  const right = normalise(cross(direction, up)), top = cross(right, direction);
  return [right[0], top[0], -direction[0], 0, right[1], top[1], -direction[1], 0, right[2], top[2], -direction[2], 0,
    -dot(right, eye), -dot(top, eye), dot(direction, eye), 1];
}

function perspective(aspect, lift, near, far) {
  const f = 1 / Math.tan(FIELD_OF_VIEW / 2);
  return [f / aspect, 0, 0, 0, 0, f, 0, 0, 0, -lift, (far + near) / (near - far), -1, 0, 0, 2 * far * near / (near - far), 0];
}

function orthographic(half, depth) {
  return [1 / half, 0, 0, 0, 0, 1 / half, 0, 0, 0, 0, -1 / depth, 0, 0, 0, 0, 1];
}

// ---- Data: columns over time, packed as `replay.py` says

async function unpack({ text, low, step }) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const plain = new Uint8Array(await new Response(stream).arrayBuffer());
  const half = plain.length / 2, rows = half / low.length;
  return low.map((least, c) => {
    const column = new Float32Array(rows);
    for (let t = 0, whole = 0; t < rows; t++) {
      const at = c * rows + t;
      whole = (whole + plain[at] + 256 * plain[half + at]) & 0xffff;
      column[t] = least + step[c] * whole;
    }
    return column;
  });
}

// ---- What is drawn

function isFloor(shape) { return shape.kind === "plane" && shape.body === null; }

/** Every rounded shape is a box `core` with a surface at `radii` around it; see the vertex shader. */
function form(shape) {
  const [a, b, c] = shape.size;
  if (shape.kind === "sphere") return { mesh: "round", core: [0, 0, 0], radii: [a, a, a] };
  if (shape.kind === "capsule") return { mesh: "round", core: [0, 0, b], radii: [a, a, a] };
  if (shape.kind === "ellipsoid") return { mesh: "round", core: [0, 0, 0], radii: shape.size };
  if (shape.kind === "cylinder") {
    const edge = 0.14 * Math.min(a, b);
    return { mesh: "drum", core: [a - edge, a - edge, b - edge], radii: [edge, edge, edge] };
  }
  if (shape.kind === "box") {
    const edge = shape.body === null ? 0 : 0.16 * Math.min(a, b, c);
    return { mesh: "round", core: [a - edge, b - edge, c - edge], radii: [edge, edge, edge] };
  }
  if (shape.kind === "plane") return { mesh: "round", core: [a || 100, b || 100, 0], radii: [0, 0, 0] };
  return { mesh: shape.mesh, core: [1, 1, 1], radii: [0, 0, 0] };
}

const items = scene.shapes.filter((shape) => !isFloor(shape)).map((shape) => ({ ...shape, ...form(shape) }));
const floor = scene.shapes.find(isFloor);
const floorHeight = floor ? floor.pos[2] : null;

/** Upright boxes that never move. */
const blocks = items.filter((item) => item.kind === "box" && item.body === null && item.quat[0] > 0.9999);

function reach(item) { return typeof item.mesh === "number" ? 0.1 : Math.hypot(...item.core) + Math.max(...item.radii); }

function bounds(episodes) {
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  const widen = (k, least, most) => { low[k] = Math.min(low[k], least); high[k] = Math.max(high[k], most); };
  for (const item of items) {
    const turn = rotation(item.quat);
    for (let k = 0; k < 3; k++) {
      if (item.body === null) {
        const half = [0, 1, 2].reduce((sum, j) => sum + Math.abs(turn[3 * j + k]) * (item.core[j] + item.radii[j]), 0);
        widen(k, item.pos[k] - half, item.pos[k] + half);
        continue;
      }
      const margin = Math.hypot(...item.pos) + reach(item);
      for (const episode of episodes) {
        const c = 7 * item.body + k;
        widen(k, episode.low[c] - margin, episode.low[c] + episode.step[c] * 65535 + margin);
      }
    }
  }
  const centre = scale(add(low, high), 0.5);
  return { low, high, centre, radius: Math.hypot(...subtract(high, low)) / 2 };
}

// ---- Meshes: interleaved normal and side

/** A sphere cut along the three planes of its axes; `side` says to which of the eight pieces a corner belongs. */
function roundMesh(steps) {
  const quarter = Array.from({ length: steps + 1 }, (_, k) => (k / steps) * Math.PI / 2);
  const around = [0, 1, 2, 3].flatMap((k) => quarter.map((angle) => [angle + k * Math.PI / 2, k]));
  const upwards = [-1, 1].flatMap((z) => quarter.map((angle) => [z < 0 ? angle - Math.PI / 2 : angle, z]));
  const vertices = [], indices = [];
  for (const [latitude, z] of upwards) {
    for (const [angle, k] of around) {
      vertices.push(Math.cos(latitude) * Math.cos(angle), Math.cos(latitude) * Math.sin(angle), Math.sin(latitude));
      vertices.push(k === 0 || k === 3 ? 1 : -1, k < 2 ? 1 : -1, z);
    }
  }
  stitch(indices, upwards.length, around.length);
  return { vertices, indices };
}

/** A cylinder with rounded edges. */
function drumMesh(sectors, steps) {
  const quarter = Array.from({ length: steps + 1 }, (_, k) => (k / steps) * Math.PI / 2);
  const upwards = [-1, 1].flatMap((z) => quarter.map((angle) => [z < 0 ? angle - Math.PI / 2 : angle, z]));
  const vertices = [], indices = [];
  for (const [latitude, z] of upwards) {
    for (let k = 0; k < sectors; k++) {
      const angle = (k / sectors) * 2 * Math.PI, x = Math.cos(angle), y = Math.sin(angle);
      vertices.push(Math.cos(latitude) * x, Math.cos(latitude) * y, Math.sin(latitude), x, y, z);
    }
  }
  stitch(indices, upwards.length, sectors);
  return { vertices, indices };
}

/** Join rings, each to the next, and close the first and the last. */
function stitch(indices, rings, length) {
  for (let ring = 0; ring + 1 < rings; ring++) {
    for (let k = 0; k < length; k++) {
      const a = ring * length + k, b = ring * length + (k + 1) % length;
      indices.push(a, b, b + length, a, b + length, a + length);
    }
  }
  for (let k = 1; k + 1 < length; k++) {
    const top = (rings - 1) * length;
    indices.push(0, k + 1, k, top, top + k, top + k + 1);
  }
}

/** Flat faces from columns of corners, three by three. */
function triangleMesh(columns) {
  const vertices = [], count = columns[0].length;
  for (let t = 0; t < count; t += 3) {
    const corners = [t, t + 1, t + 2].map((k) => columns.map((column) => column[k]));
    const normal = cross(subtract(corners[1], corners[0]), subtract(corners[2], corners[0]));
    const length = Math.hypot(...normal) || 1;
    for (const corner of corners) vertices.push(...scale(normal, 1 / length), ...corner);
  }
  return { vertices, indices: Array.from({ length: count }, (_, k) => k) };
}

// ---- Shaders

const PLACE = `#version 300 es
layout(location = 0) in vec3 normal;
layout(location = 1) in vec3 side;
uniform mat4 camera;
uniform mat3 turn;
uniform vec3 place, core, radii;
centroid out vec3 world, direction;
void main() {
  world = turn * (side * core + normal * radii) + place;
  vec3 r = max(radii, 1e-3);
  direction = turn * normalize(normal * r.yzx * r.zxy);
  gl_Position = camera * vec4(world, 1.0);
}`;

const SKY = `
uniform vec3 skyLow, skyHigh;
vec3 sky(vec3 ray) { return mix(skyLow, skyHigh, smoothstep(0.0, 0.7, ray.z)); }
vec4 shown(vec3 light, float alpha) { return vec4(pow(max(light, 0.0), vec3(1.0 / 2.2)), alpha); }
`;

const LIGHT = `#version 300 es
precision highp float;
precision highp sampler2DShadow;
centroid in vec3 world, direction;
out vec4 pixel;
uniform vec3 eye, sun, colour;
uniform float lamp, shadowTexel;
uniform mat4 sunCamera;
uniform sampler2DShadow shadows;
uniform vec4 occluders[${MAX_OCCLUDERS}];
uniform int numOccluders;
uniform vec4 crowd;
${SKY}
float sunlight(vec3 p, vec3 n) {
  vec4 at = sunCamera * vec4(p + n * shadowTexel * 2.0, 1.0);
  vec3 q = at.xyz * 0.5 + 0.5;
  float edge = max(abs(at.x), abs(at.y));
  if (edge > 1.0 || q.z > 1.0) return 1.0;
  float sum = 0.0;
  for (float i = -1.5; i < 2.0; i++) for (float j = -1.5; j < 2.0; j++) {
    sum += texture(shadows, vec3(q.xy + vec2(i, j) * ${(1.3 / SHADOW_SIZE).toFixed(8)}, q.z - 0.0006));
  }
  return mix(sum / 16.0, 1.0, smoothstep(0.85, 1.0, edge));
}
float openness(vec3 p, vec3 n) {
  float open = 1.0, far = distance(p, crowd.xyz) / crowd.w;
  if (far > 1.0) return open;
  for (int k = 0; k < numOccluders; k++) {
    vec3 d = occluders[k].xyz - p;
    float l2 = max(dot(d, d), occluders[k].w * occluders[k].w);
    open *= 1.0 - 0.85 * clamp(dot(n, d) * inversesqrt(l2) + 0.1, 0.0, 1.0) * occluders[k].w * occluders[k].w / l2;
  }
  return mix(open, 1.0, smoothstep(0.6, 1.0, far));
}
vec3 lit(vec3 albedo, vec3 n, float open, float gloss) {
  vec3 ray = normalize(eye - world);
  float facing = dot(n, sun);
  float bright = facing > 0.0 ? facing * sunlight(world, n) : 0.0;
  vec3 ambient = mix(vec3(0.30, 0.29, 0.29), vec3(0.50, 0.53, 0.58), n.z * 0.5 + 0.5) * open;
  vec3 light = albedo * (ambient + vec3(0.78, 0.75, 0.70) * bright);
  float shine = pow(max(dot(n, normalize(ray + sun)), 0.0), 48.0) * bright;
  float rim = pow(1.0 - max(dot(n, ray), 0.0), 4.0);
  return lamp * (light + gloss * (0.22 * shine + 0.16 * rim * open * (0.4 + 0.6 * max(n.z, 0.0))));
}
`;

const SOLID = LIGHT + `
uniform float fixedShape, base;
uniform vec4 blocks[${MAX_BLOCKS}];
uniform float tops[${MAX_BLOCKS}];
uniform int numBlocks, own;
/** Whether another box stands here. Where two adjoin, their sides would show as a line between their tops. */
bool buried() {
  for (int k = 0; k < numBlocks; k++) {
    vec2 away = abs(world.xy - blocks[k].xy) - blocks[k].zw;
    if (k != own && max(away.x, away.y) < 1e-3 && world.z < tops[k] + 1e-3) return true;
  }
  return false;
}
void main() {
  vec3 n = normalize(direction);
  if (own >= 0 && abs(n.z) < 0.5 && buried()) discard;
  if (!gl_FrontFacing) n = -n;
  float open = 1.0;
  if (fixedShape > 0.5) open = openness(world, n) * mix(mix(0.62, 1.0, smoothstep(0.0, 1.0, base * (world.z))), 1.0, max(n.z, 0.0));
  pixel = shown(lit(colour, n, open, 1.0 - 0.6 * fixedShape), 1.0);
}`;

const FLOOR = LIGHT + `
uniform vec3 floorA, floorB, line, goalColour, focus;
uniform vec4 goal, contactBox;
uniform float cell, fog, success;
uniform sampler2D contact;
float stripes(vec2 p, float width) {
  vec2 away = abs(fract(p - 0.5) - 0.5), size = fwidth(p);
  vec2 on = (1.0 - smoothstep(vec2(width * 0.5), width * 0.5 + size * 1.2, away)) * min(vec2(1.0), width * 0.8 / size);
  return max(on.x, on.y);
}
float checks(vec2 p) {
  vec2 size = max(fwidth(p), 1e-5);
  vec2 a = 2.0 * (abs(fract((p - 0.5 * size) * 0.5) - 0.5) - abs(fract((p + 0.5 * size) * 0.5) - 0.5)) / size;
  return 0.5 - 0.5 * a.x * a.y;
}
void main() {
  vec2 p = world.xy / cell + 0.5;
  vec3 albedo = mix(floorA, floorB, checks(p));
  albedo = mix(albedo, line, 0.75 * stripes(p, 0.008));
  albedo = mix(albedo, line, 0.28 * stripes(p * 4.0, 0.014));
  vec2 uv = (world.xy - contactBox.xy) / contactBox.zw;
  float open = openness(world, vec3(0.0, 0.0, 1.0)) * texture(contact, uv).r;
  vec3 light = lit(albedo, vec3(0.0, 0.0, 1.0), open, 0.0);
  if (goal.w > 0.0) {
    float d = distance(world.xy, goal.xy) / goal.w, w = fwidth(d);
    float ring = 1.0 - smoothstep(w, 2.0 * w + 0.03, abs(d - 1.0));
    float glow = success * 0.55 * exp(-1.6 * max(d - 1.0, 0.0)) * step(1.0, d) + (0.16 + 0.34 * success) * (1.0 - smoothstep(1.0 - w, 1.0, d));
    light = mix(light, goalColour, clamp(max(ring * (0.7 + 0.3 * success), glow), 0.0, 1.0));
  }
  pixel = shown(mix(light, sky(vec3(0.0)), smoothstep(0.3, 1.0, distance(world, focus) / fog)), 1.0);
}`;

const GHOST = LIGHT + `
uniform float success, faint;
void main() {
  vec3 n = normalize(direction), ray = normalize(eye - world);
  float rim = pow(1.0 - abs(dot(n, ray)), 2.0);
  float alpha = mix(0.16 + 0.2 * success, 0.85, rim) * faint;
  vec3 light = colour * (0.75 + 0.35 * max(n.z, 0.0) + 0.5 * success) + vec3(0.25) * pow(max(dot(n, normalize(ray + sun)), 0.0), 40.0);
  pixel = shown(light, alpha);
}`;

const EMPTY = `#version 300 es
precision mediump float;
void main() {}`;

const BACKDROP_PLACE = `#version 300 es
uniform mat3 frame;
uniform vec2 lens;
out vec3 ray;
void main() {
  vec2 p = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
  ray = frame * vec3(p * lens, 1.0);
  gl_Position = vec4(p, 1.0, 1.0);
}`;

const BACKDROP = `#version 300 es
precision highp float;
in vec3 ray;
out vec4 pixel;
${SKY}
void main() { pixel = shown(sky(normalize(ray)), 1.0); }`;

const TRAIL_PLACE = `#version 300 es
layout(location = 0) in vec3 point;
layout(location = 1) in vec3 heading;
layout(location = 2) in vec2 sideTime;
uniform mat4 camera;
uniform vec2 screen;
uniform float width;
out float time, across;
void main() {
  vec4 here = camera * vec4(point, 1.0), there = camera * vec4(point + heading, 1.0);
  vec2 way = (there.xy / there.w - here.xy / here.w) * screen;
  vec2 normal = length(way) > 1e-6 ? normalize(vec2(-way.y, way.x)) : vec2(0.0);
  here.xy += normal * sideTime.x * width / screen * here.w;
  time = sideTime.y;
  across = sideTime.x;
  gl_Position = here;
}`;

const TRAIL = `#version 300 es
precision highp float;
in float time, across;
out vec4 pixel;
uniform vec3 colour;
uniform float now;
${SKY}
void main() {
  if (time > now) discard;
  float age = (now - time) / 250.0;
  pixel = shown(colour, (0.3 + 0.6 * exp(-age)) * (1.0 - smoothstep(0.5, 1.0, abs(across))));
}`;

// ---- WebGL

function start(gl) {
  const programs = {
    solid: program(PLACE, SOLID), floor: program(PLACE, FLOOR), ghost: program(PLACE, GHOST), depth: program(PLACE, EMPTY),
    backdrop: program(BACKDROP_PLACE, BACKDROP), trail: program(TRAIL_PLACE, TRAIL),
  };
  const nothing = gl.createVertexArray();
  const meshes = { round: upload(roundMesh(10)), drum: upload(drumMesh(48, 4)) };
  const shadows = shadowTarget();
  let contact = null;

  function shader(kind, source) {
    const made = gl.createShader(kind);
    gl.shaderSource(made, source);
    gl.compileShader(made);
    if (!gl.getShaderParameter(made, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(made));
    return made;
  }

  function program(vertex, fragment) {
    const made = gl.createProgram();
    gl.attachShader(made, shader(gl.VERTEX_SHADER, vertex));
    gl.attachShader(made, shader(gl.FRAGMENT_SHADER, fragment));
    gl.linkProgram(made);
    if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
    const uniforms = {};
    for (let k = 0; k < gl.getProgramParameter(made, gl.ACTIVE_UNIFORMS); k++) {
      const info = gl.getActiveUniform(made, k);
      uniforms[info.name.replace("[0]", "")] = { type: info.type, at: gl.getUniformLocation(made, info.name) };
    }
    return { made, uniforms };
  }

  /** Set what of `values` the program has. */
  function set({ uniforms }, values) {
    for (const [name, value] of Object.entries(values)) {
      const found = uniforms[name];
      if (!found) continue;
      if (found.type === gl.FLOAT) gl.uniform1fv(found.at, [value].flat());
      else if (found.type === gl.FLOAT_VEC2) gl.uniform2fv(found.at, value);
      else if (found.type === gl.FLOAT_VEC3) gl.uniform3fv(found.at, value);
      else if (found.type === gl.FLOAT_VEC4) gl.uniform4fv(found.at, value);
      else if (found.type === gl.FLOAT_MAT3) gl.uniformMatrix3fv(found.at, false, value);
      else if (found.type === gl.FLOAT_MAT4) gl.uniformMatrix4fv(found.at, false, value);
      else gl.uniform1i(found.at, value);
    }
  }

  function attributes(data, sizes) {
    const array = gl.createVertexArray(), stride = 4 * sizes.reduce((a, b) => a + b);
    gl.bindVertexArray(array);
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(data), gl.STATIC_DRAW);
    let offset = 0;
    sizes.forEach((size, index) => {
      gl.enableVertexAttribArray(index);
      gl.vertexAttribPointer(index, size, gl.FLOAT, false, stride, offset);
      offset += 4 * size;
    });
    return { array, buffer };
  }

  function upload({ vertices, indices }) {
    const { array } = attributes(vertices, [3, 3]);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, new Uint32Array(indices), gl.STATIC_DRAW);
    return { array, count: indices.length };
  }

  function shadowTarget() {
    const texture = gl.createTexture(), frame = gl.createFramebuffer();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.DEPTH_COMPONENT24, SHADOW_SIZE, SHADOW_SIZE);
    parameters({ TEXTURE_MIN_FILTER: gl.LINEAR, TEXTURE_MAG_FILTER: gl.LINEAR, TEXTURE_COMPARE_MODE: gl.COMPARE_REF_TO_TEXTURE });
    gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.DEPTH_ATTACHMENT, gl.TEXTURE_2D, texture, 0);
    gl.drawBuffers([gl.NONE]);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    return { texture, frame };
  }

  function parameters(values) {
    for (const [name, value] of Object.entries({ TEXTURE_WRAP_S: gl.CLAMP_TO_EDGE, TEXTURE_WRAP_T: gl.CLAMP_TO_EDGE, ...values })) {
      gl.texParameteri(gl.TEXTURE_2D, gl[name], value);
    }
  }

  /** How open the sky is over the floor beside the boxes that stand on it: it never changes, so it is made once. */
  function bakeContact({ low, high }) {
    const boxes = blocks.filter((item) => Math.abs(item.pos[2] - item.size[2] - floorHeight) < 0.02);
    const span = Math.max(high[0] - low[0], high[1] - low[1]), margin = 0.15 * span;
    const corner = [low[0] - margin, low[1] - margin], extent = span + 2 * margin, n = boxes.length ? CONTACT_SIZE : 1;
    const values = new Uint8Array(n * n);
    for (let j = 0; j < n; j++) {
      for (let i = 0; i < n; i++) {
        const x = corner[0] + (i + 0.5) / n * extent, y = corner[1] + (j + 0.5) / n * extent;
        let open = 1;
        for (const { pos, size } of boxes) {
          const dx = Math.max(Math.abs(x - pos[0]) - size[0], 0), dy = Math.max(Math.abs(y - pos[1]) - size[1], 0);
          const near = Math.hypot(dx, dy) / (0.5 * size[2]);
          if (near < 4) open *= 1 - 0.42 * Math.exp(-near);
        }
        values[j * n + i] = 255 * open;
      }
    }
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, n, n, 0, gl.RED, gl.UNSIGNED_BYTE, values);
    parameters({ TEXTURE_MIN_FILTER: gl.LINEAR, TEXTURE_MAG_FILTER: gl.LINEAR });
    return { texture, box: [...corner, extent, extent] };
  }

  function makeTrail(columns, frames, flat) {
    const at = (t) => {
      const k = Math.min(Math.max(t, 0), frames - 1);
      const [x, y, z] = columns.slice(7 * scene.bodies, 7 * scene.bodies + 3).map((column) => column[k]);
      return [x, y, flat ? (floorHeight ?? 0) + 0.02 : z];
    };
    const data = [];
    for (let t = 0; t < frames; t++) {
      const heading = subtract(at(t + 1), at(t - 1));
      for (const side of [-1, 1]) data.push(...at(t), ...heading, side, t);
    }
    return { ...attributes(data, [3, 3, 2]), count: 2 * frames };
  }

  function drawShape(user, { mesh, core, radii, place, turn }, values) {
    set(user, { core, radii, place, turn, ...values });
    gl.bindVertexArray(meshes[mesh].array);
    gl.drawElements(gl.TRIANGLES, meshes[mesh].count, gl.UNSIGNED_INT, 0);
  }

  function use(user, values) {
    gl.useProgram(user.made);
    set(user, values);
    return user;
  }

  /** One picture: `frame` has the posed shapes, the goal and the trail, `view` the camera. */
  function draw(frame, view, look) {
    const [width, height] = [canvas.width, canvas.height];
    const depth = 6 * view.shadowRadius;
    const sunCamera = product(orthographic(view.shadowRadius, depth), lookAt(view.shadowCentre, scale(SUN, -1), [0, 1, 0]));
    const solids = frame.shapes.filter((shape) => !shape.ghost), ghosts = frame.shapes.filter((shape) => shape.ghost);

    gl.enable(gl.DEPTH_TEST);
    gl.disable(gl.BLEND);
    gl.depthMask(true);
    gl.bindFramebuffer(gl.FRAMEBUFFER, shadows.frame);
    gl.viewport(0, 0, SHADOW_SIZE, SHADOW_SIZE);
    gl.clear(gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.POLYGON_OFFSET_FILL);
    gl.polygonOffset(1.5, 2);
    use(programs.depth, { camera: sunCamera });
    for (const shape of solids) drawShape(programs.depth, shape, {});
    gl.disable(gl.POLYGON_OFFSET_FILL);

    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, width, height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, shadows.texture);
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, contact.texture);

    gl.depthMask(false);
    gl.disable(gl.DEPTH_TEST);
    use(programs.backdrop, { frame: view.frame, lens: view.lens, skyLow: look.skyLow, skyHigh: look.skyHigh });
    gl.bindVertexArray(nothing);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.enable(gl.DEPTH_TEST);
    gl.depthMask(true);

    const common = {
      camera: view.camera, eye: view.eye, sun: SUN, lamp: look.lamp, sunCamera, shadows: 0, contact: 1, contactBox: contact.box,
      shadowTexel: 2 * view.shadowRadius / SHADOW_SIZE, occluders: frame.occluders, numOccluders: frame.occluders.length / 4, crowd: frame.crowd,
      skyLow: look.skyLow, skyHigh: look.skyHigh, success: frame.success,
    };
    if (!frame.occluders.length) delete common.occluders;
    const standing = blocks.slice(0, MAX_BLOCKS);
    use(programs.solid, { ...common, base: 1.1 / Math.max(view.wallHeight, 1e-3), numBlocks: standing.length });
    if (standing.length) {
      set(programs.solid, { blocks: standing.flatMap(({ pos, size }) => [pos[0], pos[1], size[0], size[1]]),
        tops: standing.map(({ pos, size }) => pos[2] + size[2]) });
    }
    // A sphere at the end of a capsule of the same radius is what shall be seen there.
    gl.polygonOffset(-1, -4);
    for (const shape of solids) {
      (shape.kind === "sphere" ? gl.enable : gl.disable).call(gl, gl.POLYGON_OFFSET_FILL);
      drawShape(programs.solid, shape, { colour: shape.colour, fixedShape: Number(shape.body === null), own: shape.block });
    }
    gl.disable(gl.POLYGON_OFFSET_FILL);
    if (floor) {
      use(programs.floor, {
        ...common, floorA: look.floorA, floorB: look.floorB, line: look.line, goalColour: look.goal, focus: view.target,
        goal: frame.ring, cell: view.cell, fog: view.fog,
      });
      const size = 2 * view.fog;
      drawShape(programs.floor, { mesh: "round", core: [size, size, 0], radii: [0, 0, 0],
        place: [view.target[0], view.target[1], floorHeight], turn: rotation([1, 0, 0, 0]) }, {});
    }

    gl.enable(gl.BLEND);
    gl.blendFuncSeparate(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.depthMask(false);
    if (frame.trail) {
      use(programs.trail, { camera: view.camera, screen: [width / 2, height / 2], width: TRAIL_WIDTH * view.pixels, colour: look.trail, now: frame.now });
      gl.bindVertexArray(frame.trail.array);
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, frame.trail.count);
    }
    use(programs.ghost, common);
    gl.enable(gl.CULL_FACE);
    for (const face of [gl.FRONT, gl.BACK]) {
      gl.cullFace(face);
      for (const shape of ghosts) drawShape(programs.ghost, shape, { colour: look.goal, faint: shape.faint });
    }
    gl.disable(gl.CULL_FACE);
    gl.depthMask(true);
  }

  return {
    draw, makeTrail,
    prepare(box, columnsOfMeshes) {
      contact = bakeContact(box);
      columnsOfMeshes.forEach((columns, k) => { meshes[k] = upload(triangleMesh(columns)); });
    },
    dropTrail(trail) { gl.deleteVertexArray(trail.array); gl.deleteBuffer(trail.buffer); },
  };
}

// ---- State of the page

const state = { episode: 0, frame: 0, playing: false, speed: 1, follow: scene.follow !== null };
const wanted = { azimuth: 0, elevation: 0, distance: 1, target: [0, 0, 0] };
let camera = structuredClone(wanted);
let sharpness = 1, lag = 0;
let painter = null, box = null, trail = null, look = null, wake = 0, before = 0;

const current = () => scene.episodes[state.episode];

/** A column's value between two frames. */
function between(column, t) {
  const k = Math.min(Math.floor(t), column.length - 1), next = Math.min(k + 1, column.length - 1);
  return column[k] + (column[next] - column[k]) * (t - k);
}

function bodyPose(body, t) {
  const values = current().columns.slice(7 * body, 7 * body + 7).map((column) => between(column, t));
  const size = Math.hypot(...values.slice(3));
  return { pos: values.slice(0, 3), quat: values.slice(3).map((v) => v / size) };
}

function pose(item, t) {
  if (item.body === null) return { place: item.pos, turn: rotation(item.quat) };
  const { pos, quat } = bodyPose(item.body, t);
  return { place: add(pos, turned(rotation(quat), item.pos)), turn: rotation(quaternionProduct(quat, item.quat)) };
}

function place(offset, t) {
  const start = 7 * scene.bodies + offset;
  return [0, 1, 2].map((k) => between(current().columns[start + k], t));
}

function atGoal(t) {
  const k = Math.round(t);
  return current().success.some(([first, last]) => first <= k && k <= last);
}

/** What the camera follows, averaged over a second so that it does not shake. */
function subject(t) {
  const { columns, frames, seconds } = current(), reachFrames = Math.max(1, Math.round(0.5 / seconds));
  let sum = [0, 0, 0], count = 0;
  for (let k = -reachFrames; k <= reachFrames; k++) {
    const at = Math.min(Math.max(t + k, 0), frames - 1);
    sum = add(sum, [0, 1, 2].map((axis) => between(columns[7 * scene.follow + axis], at)));
    count++;
  }
  return scale(sum, 1 / count);
}

function linear(hex) {
  return [1, 3, 5].map((k) => (parseInt(hex.slice(k, k + 2), 16) / 255) ** 2.2);
}

function readLook() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => linear(style.getPropertyValue(name).trim());
  look = {
    skyLow: colour("--sky-low"), skyHigh: colour("--sky-high"), floorA: colour("--floor-a"), floorB: colour("--floor-b"),
    line: colour("--line"), goal: colour("--goal"), trail: colour("--reached"), lamp: Number(style.getPropertyValue("--lamp")),
  };
}

function occluders(shapes) {
  const found = [];
  for (const { body, ghost, kind, size, place, turn } of shapes) {
    if (body === null || ghost) continue;
    const long = kind === "capsule" || kind === "cylinder";
    const r = kind === "box" || kind === "ellipsoid" ? (size[0] + size[1] + size[2]) / 3 : size[0];
    if (typeof r !== "number" || kind === "mesh") continue;
    for (const end of long && size[1] > 0.7 * r ? [-0.6, 0.6] : [0]) {
      found.push(...add(place, turned(turn, [0, 0, end * size[1]])), long && kind === "cylinder" ? Math.min(r, 2 * size[1]) : r);
    }
  }
  return found.slice(0, 4 * MAX_OCCLUDERS);
}

/** The ball outside of which occluders do not count. */
function crowd(spheres) {
  const places = [], sizes = [];
  for (let k = 0; k < spheres.length; k += 4) { places.push(spheres.slice(k, k + 3)); sizes.push(spheres[k + 3]); }
  if (!places.length) return [0, 0, 0, 1e-6];
  const centre = scale(places.reduce(add), 1 / places.length);
  return [...centre, Math.max(...places.map((place) => Math.hypot(...subtract(place, centre)))) + 6 * Math.max(...sizes)];
}

function composeFrame() {
  const t = state.frame, { goalSize } = current(), success = Number(atGoal(t));
  const goal = place(3, t), spatial = goalSize === 2 || goalSize === 3;
  const shapes = items.map((item) => ({
    ...item, ...pose(item, t), colour: item.rgba.slice(0, 3).map((v) => v ** 2.2), ghost: item.goal || item.rgba[3] < 0.99, faint: 1,
    block: blocks.indexOf(item),
  }));
  if (spatial && !items.some((item) => item.goal && reach(item) > 0.8 * scene.radius)) {
    const r = scene.radius;
    shapes.push({ mesh: "round", core: [0, 0, 0], radii: [r, r, r], place: goalSize === 2 ? [goal[0], goal[1], floorHeight ?? 0] : goal,
      turn: rotation([1, 0, 0, 0]), ghost: true, faint: 0.5, body: null });
  }
  const onFloor = spatial && floor && (goalSize === 2 || goal[2] - floorHeight < 4 * scene.radius);
  const spheres = occluders(shapes);
  return {
    shapes, success, trail, now: t, occluders: spheres, crowd: crowd(spheres),
    ring: onFloor ? [goal[0], goal[1], floorHeight, scene.radius] : [0, 0, 0, 0],
  };
}

function axes(azimuth, elevation) {
  const [a, e] = [azimuth * Math.PI / 180, elevation * Math.PI / 180];
  const ahead = [Math.cos(e) * Math.cos(a), Math.cos(e) * Math.sin(a), -Math.sin(e)], right = [Math.sin(a), -Math.cos(a), 0];
  return { right, ahead, up: cross(right, ahead) };
}

function composeView() {
  const { azimuth, elevation, distance, target } = camera;
  const { right, up, ahead } = axes(azimuth, elevation), eye = subtract(target, scale(ahead, distance));
  const aspect = canvas.width / canvas.height, tangent = Math.tan(FIELD_OF_VIEW / 2);
  const fog = 3 * Math.max(distance, 2 * box.radius);
  const shadowRadius = Math.min(1.15 * distance * Math.max(1, aspect * 0.62), 1.25 * box.radius);
  const texel = 2 * shadowRadius / SHADOW_SIZE * 8;
  const centre = shadowRadius < box.radius ? target : box.centre;
  return {
    eye, target, fog, frame: [...right, ...up, ...ahead], lens: [tangent * aspect, tangent],
    camera: product(perspective(aspect, lift(), 0.08 * distance, 3 * fog), lookAt(eye, ahead, up)),
    shadowRadius, shadowCentre: centre.map((v) => Math.round(v / texel) * texel), pixels: pixelRatio(),
    cell: box.cell, wallHeight: box.wallHeight,
  };
}

/** The controls cover the lower edge: how far the view's centre is above that of the canvas, in half heights. */
function lift() { return Math.min(0.3, 130 / Math.max(canvas.clientHeight, 1)); }

function pixelRatio() { return sharpness * Math.min(devicePixelRatio || 1, 2); }

function resize() {
  const ratio = pixelRatio(), width = Math.max(1, Math.round(canvas.clientWidth * ratio)), height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
}

function render() {
  if (!painter) return;
  resize();
  painter.draw(composeFrame(), composeView(), look);
}

// ---- Camera

/** The least distance from which everything is seen above the controls. */
function fit(azimuth, elevation) {
  const { right, up, ahead } = axes(azimuth, elevation), tangent = Math.tan(FIELD_OF_VIEW / 2);
  const aspect = canvas.clientWidth / Math.max(canvas.clientHeight, 1), free = 0.92 * (1 - lift());
  let distance = 0;
  for (let corner = 0; corner < 8; corner++) {
    const place = [0, 1, 2].map((k) => ((corner >> k) & 1 ? box.high : box.low)[k] - box.centre[k]);
    const [x, y, z] = [right, up, ahead].map((axis) => dot(axis, place));
    distance = Math.max(distance, Math.abs(x) / (0.94 * tangent * aspect) - z, Math.abs(y) / (free * tangent) - z);
  }
  return distance;
}

/** The first view of a mode: following, or all of the scene. */
function aim() {
  // Low views end at the nearest wall.
  const { view } = scene, lowest = box.walled ? (state.follow ? 52 : 62) : 0;
  const { azimuth } = view, elevation = Math.max(view.elevation, lowest);
  // A camera that stands still was set up by someone who had no bar over the lower edge.
  const factor = state.follow ? (box.walled ? 1.2 : 0.8) : view.target ? 1.3 : 0;
  const distance = factor && view.distance ? factor * view.distance : fit(azimuth, elevation);
  Object.assign(wanted, { azimuth, elevation, distance, offset: [0, 0, 0], target: view.target ?? [...box.centre] });
}

function chase(seconds, jump) {
  if (state.follow) wanted.target = add(subject(state.frame), wanted.offset);
  const share = jump || calm.matches ? 1 : 1 - Math.exp(-seconds * 11);
  const far = Math.abs(camera.azimuth - wanted.azimuth) + Math.abs(camera.elevation - wanted.elevation) +
    100 * Math.abs(camera.distance / wanted.distance - 1) + 100 * Math.hypot(...subtract(camera.target, wanted.target)) / wanted.distance;
  for (const name of ["azimuth", "elevation", "distance"]) camera[name] += (wanted[name] - camera[name]) * share;
  camera.target = mix(camera.target, wanted.target, state.follow && state.playing && far < 6 ? 1 : share);
  return far > 0.05;
}

function orbit(dx, dy) {
  wanted.azimuth -= 0.35 * dx;
  wanted.elevation = Math.min(89.5, Math.max(1, wanted.elevation + 0.3 * dy));
}

function pan(dx, dy) {
  const a = wanted.azimuth * Math.PI / 180, reachPerPixel = wanted.distance * 2 * Math.tan(FIELD_OF_VIEW / 2) / canvas.clientHeight;
  const move = [(-dx * Math.sin(a) + dy * Math.cos(a)) * reachPerPixel, (dx * Math.cos(a) + dy * Math.sin(a)) * reachPerPixel, 0];
  wanted.target = add(wanted.target, move);
  wanted.offset = add(wanted.offset, move);
}

function zoom(factor) {
  wanted.distance = Math.min(12 * box.radius, Math.max(0.02 * box.radius, wanted.distance * factor));
}

// ---- Playback

function tick(now) {
  wake = 0;
  const seconds = Math.min((now - before) / 1000, 0.1);
  before = now;
  // Where pictures come slowly, as without a GPU, they get coarser.
  lag += 0.1 * (seconds - lag);
  if (lag > 0.05 && sharpness > 0.5) [sharpness, lag] = [0.8 * sharpness, 0];
  if (state.playing) {
    const last = current().frames - 1;
    state.frame = Math.min(last, state.frame + seconds * state.speed / current().seconds);
    if (state.frame === last) setPlaying(false);
    showTime();
  }
  const moving = chase(seconds, false);
  render();
  if (state.playing || moving) refresh();
}

function refresh() {
  if (wake || !painter) return;
  if (!state.playing) before = performance.now();
  wake = requestAnimationFrame(tick);
}

function setPlaying(playing) {
  if (playing && state.frame >= current().frames - 1) state.frame = 0;
  state.playing = playing;
  before = performance.now();
  element("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  element("play-icon").setAttribute("d", playing ? "M7 5h3.6v14H7zM13.4 5H17v14h-3.6z" : "M8 4.6v14.8L20 12z");
  refresh();
}

function seek(frame) {
  state.frame = Math.min(Math.max(frame, 0), current().frames - 1);
  showTime();
  refresh();
}

function show(episode) {
  state.episode = Math.min(Math.max(episode, 0), scene.episodes.length - 1);
  state.frame = 0;
  const { frames, goalSize, columns } = current();
  if (painter) {
    if (trail) painter.dropTrail(trail);
    trail = goalSize === 2 || goalSize === 3 ? painter.makeTrail(columns, frames, goalSize === 2) : null;
  }
  element("scrub").max = frames - 1;
  [...element("episodes").children].forEach((button, k) => button.setAttribute("aria-pressed", String(k === state.episode)));
  drawChart();
  showTime();
  refresh();
}

function setFollow(follow) {
  state.follow = follow && scene.follow !== null;
  element("follow").setAttribute("aria-pressed", String(state.follow));
  aim();
  refresh();
}

// ---- Words and chart

function metres(value) { return `${value.toFixed(value < 10 ? 2 : 1)} m`; }

function distanceAt(t) { return between(current().columns[7 * scene.bodies + 6], t); }

function showTime() {
  const { stride, steps, seconds } = current(), step = Math.round(state.frame) * stride;
  const there = atGoal(state.frame), away = metres(distanceAt(state.frame));
  const words = there ? "At the goal" : `${away} to goal`;
  element("state").classList.toggle("at-goal", there);
  element("verdict").textContent = words;
  element("clock").innerHTML = `step ${step} of ${steps}<small>${(state.frame * seconds).toFixed(1)} s</small>`;
  const scrub = element("scrub");
  scrub.value = state.frame;
  scrub.setAttribute("aria-valuetext", `step ${step} of ${steps}, ${words}`);
  element("chart").querySelector(".hand")?.setAttribute("transform", `translate(${state.frame} 0)`);
}

/** Distance to the goal over the episode, and when it counted as reached, behind the scrub bar. */
function drawChart() {
  const { frames, columns, success } = current(), chart = element("chart");
  const distance = columns[7 * scene.bodies + 6], most = Math.max(...distance) || 1;
  const line = Array.from(distance, (value, t) => `${t} ${(96 - 88 * value / most).toFixed(1)}`).join("L");
  chart.setAttribute("viewBox", `0 0 ${Math.max(frames - 1, 1)} 100`);
  chart.innerHTML = success.map(([first, last]) => `<rect class="span" x="${first - 0.5}" y="0" width="${last - first + 1}" height="100"></rect>`).join("") +
    `<path class="area" d="M0 100L${line}L${frames - 1} 100Z"></path><path class="curve" d="M${line}"></path>` +
    `<line class="floor" x1="0" x2="${frames - 1}" y1="99.5" y2="99.5"></line><line class="hand" y1="0" y2="100"></line>`;
}

function listEpisodes() {
  scene.episodes.forEach(({ firstAtGoal, timeAtGoal, steps, failed }, k) => {
    const reached = firstAtGoal !== null, button = document.createElement("button");
    const words = reached ? `reached after ${firstAtGoal} steps, ${timeAtGoal} of ${steps} at the goal` : "goal missed";
    button.className = reached ? "reached" : "missed";
    button.innerHTML = `${k + 1}<i aria-hidden="true">${reached ? "●" : "×"}</i>`;
    button.title = `Episode ${k + 1}: ${words}${failed ? `; failed at step ${steps}` : ""}`;
    button.setAttribute("aria-label", button.title);
    button.addEventListener("click", () => { show(k); if (!calm.matches) setPlaying(true); });
    element("episodes").append(button);
  });
}

function toggleHelp() {
  const help = element("help");
  help.hidden = !help.hidden;
  element("keys").setAttribute("aria-expanded", String(!help.hidden));
}

// ---- Input

function listen() {
  const pointers = new Map();
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", (event) => {
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const [dx, dy] = [event.clientX - last.clientX, event.clientY - last.clientY];
    if (pointers.size === 2) {
      const [other] = [...pointers.values()].filter((pointer) => pointer.pointerId !== event.pointerId);
      const spread = (pointer) => Math.hypot(pointer.clientX - other.clientX, pointer.clientY - other.clientY);
      zoom(spread(last) / Math.max(spread(event), 1));
      pan(dx / 2, dy / 2);
    } else if (last.button === 2 || last.button === 1 || last.shiftKey) pan(dx, dy);
    else orbit(dx, dy);
    pointers.set(event.pointerId, Object.assign({ button: last.button, shiftKey: last.shiftKey, pointerId: event.pointerId },
      { clientX: event.clientX, clientY: event.clientY }));
    refresh();
  });
  canvas.addEventListener("wheel", (event) => {
    // Inside another page the wheel scrolls that page until somebody has clicked here.
    if (window.parent !== window && document.activeElement !== canvas && !event.ctrlKey) return;
    event.preventDefault();
    zoom(Math.exp(event.deltaY * (event.deltaMode ? 0.05 : 0.0015)));
    refresh();
  }, { passive: false });
  canvas.addEventListener("dblclick", () => { aim(); refresh(); });
  element("play").addEventListener("click", () => setPlaying(!state.playing));
  element("scrub").addEventListener("input", (event) => { setPlaying(false); seek(Number(event.target.value)); });
  element("speed").addEventListener("change", (event) => { state.speed = Number(event.target.value); });
  element("follow").addEventListener("click", () => setFollow(!state.follow));
  element("reset").addEventListener("click", () => { aim(); refresh(); });
  element("keys").addEventListener("click", toggleHelp);
  document.addEventListener("keydown", press);
  new ResizeObserver(refresh).observe(canvas);
  dark.addEventListener("change", () => { readLook(); refresh(); });
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.id === "speed") return;
  const jump = event.shiftKey ? 20 : 1, speeds = [...element("speed").options].map((option) => option.value);
  const change = (by) => {
    const at = Math.min(Math.max(speeds.indexOf(String(state.speed)) + by, 0), speeds.length - 1);
    element("speed").value = speeds[at];
    state.speed = Number(speeds[at]);
  };
  const move = (frame) => { setPlaying(false); seek(frame); };
  const actions = {
    " ": () => setPlaying(!state.playing),
    ArrowLeft: () => move(Math.round(state.frame) - jump), ArrowRight: () => move(Math.round(state.frame) + jump),
    Home: () => move(0), End: () => move(current().frames - 1),
    "-": () => change(-1), "+": () => change(1), "=": () => change(1),
    f: () => setFollow(!state.follow), r: () => { aim(); refresh(); }, h: toggleHelp, "?": toggleHelp,
    t: () => { wanted.elevation = 89.5; refresh(); },
    Escape: () => { if (!element("help").hidden) toggleHelp(); },
  };
  const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (/^[1-9]$/.test(event.key) && Number(event.key) <= scene.episodes.length) show(Number(event.key) - 1);
  else if (action && !(event.key === " " && event.target.tagName === "BUTTON")) action();
  else return;
  event.preventDefault();
}

// ---- Start

function say(text) {
  element("message").textContent = text;
  element("message").hidden = false;
}

async function begin() {
  element("title").textContent = scene.title;
  element("subtitle").textContent = scene.subtitle;
  for (const episode of scene.episodes) episode.columns = await unpack(episode);
  const meshes = await Promise.all(scene.meshes.map(unpack));
  box = bounds(scene.episodes);
  const walls = items.filter((item) => item.kind === "box" && item.body === null);
  box.walled = walls.length > 3 && scene.follow !== null;
  box.wallHeight = Math.max(0, ...walls.map((item) => 2 * item.size[2]));
  box.cell = box.walled || box.radius > 6 ? 4 : [1, 0.5, 0.2, 0.1].find((size) => size <= box.radius / 2) ?? 0.1;
  readLook();
  listEpisodes();
  const gl = canvas.getContext("webgl2", { antialias: true, alpha: false });
  if (gl) {
    painter = start(gl);
    painter.prepare(box, meshes);
  } else {
    say("This browser offers no WebGL 2, so the scene cannot be drawn. The bar below still shows the distance to the goal.");
  }
  element("follow").hidden = scene.follow === null;
  listen();
  show(0);
  // A small maze is best seen as a whole.
  setFollow(!(box.walled && box.radius < SMALL_MAZE));
  camera = { ...structuredClone(wanted) };
  chase(0, true);
  camera = { ...structuredClone(wanted) };
  setPlaying(!calm.matches && Boolean(gl));
}

/** For pages around this one, and for tests. */
window.replay = {
  ready: begin().catch((error) => { say(`The replay could not be started: ${error.message}`); throw error; }),
  scene, state, wanted, seek, show, setPlaying, setFollow,
  /** Draw at once, with the camera where it is heading. */
  draw() { chase(0, true); render(); },
};
})();
