// The viewer of a session: turns the animated GLB that is embedded in its page, or another from disk.
// Built into viewer.bundle.js; README.md in this folder says how.
import * as THREE from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
import { GLTFLoader } from "three/examples/jsm/loaders/GLTFLoader.js";

const scene = JSON.parse(document.getElementById("scene").textContent);
const element = (id) => document.getElementById(id);
const canvas = element("view");
const renderer = new THREE.WebGLRenderer({ canvas, antialias: true, preserveDrawingBuffer: true });
renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
const world = new THREE.Scene();
world.background = new THREE.Color(0xf3f3f1);
const camera = new THREE.PerspectiveCamera(40, 1, 0.05, 200);
const controls = new OrbitControls(camera, canvas);
// Pictures bring light of their own: little is added, so that colours are theirs.
world.add(new THREE.HemisphereLight(0xffffff, 0xc8c8c0, 2.6));
const sun = new THREE.DirectionalLight(0xffffff, 1.2);
sun.position.set(2, 5, 3);
world.add(sun);

const clock = new THREE.Clock();
const frusta = new THREE.Group();
world.add(frusta);
let root = null, mixer = null, duration = 0, time = 0, playing = true;

const QUALITY = [[0.18, 0.63, 0.26], [0.95, 0.77, 0.06], [0.8, 0.24, 0.18]]; // good, doubtful, bad

function addFrusta() {
  for (const c of scene.cameras) {
    const [w, h] = c.size, depth = 0.35;
    const corner = (x, y) => {
      const ray = [(x - c.cx) / c.f * depth, (y - c.cy) / c.f * depth, depth];
      return new THREE.Vector3(...[0, 1, 2].map((i) =>
        c.centre[i] + c.axes[0][i] * ray[0] + c.axes[1][i] * ray[1] + c.axes[2][i] * ray[2]));
    };
    const eye = new THREE.Vector3(...c.centre);
    const at = [corner(0, 0), corner(w, 0), corner(w, h), corner(0, h)];
    const points = [];
    at.forEach((p, k) => points.push(eye, p, p, at[(k + 1) % 4]));
    const lines = new THREE.LineSegments(
      new THREE.BufferGeometry().setFromPoints(points), new THREE.LineBasicMaterial({ color: 0x2b6cb0 }));
    lines.name = c.name;
    frusta.add(lines);
  }
}

function tint(person, frame) {
  const row = person.first_row === undefined ? null : Math.round((frame - scene.first_frame) / scene.step);
  const value = person.quality?.[row];
  return value === undefined || value === null ? null : QUALITY[value];
}

function colourByQuality(on, frame) {
  for (const person of scene.people) {
    const rgb = on ? tint(person, frame) ?? [0.6, 0.6, 0.6] : null;
    for (const node of nodesOf(person)) node.traverse((o) => {
      if (!o.isMesh) return;
      o.userData.own ??= o.material;
      o.userData.plain ??= plainOf(person);
      if (rgb) o.userData.plain.color.setRGB(...rgb);
      o.material = rgb ? o.userData.plain : o.userData.own;
    });
  }
}

// A skinned body stands beside its joints, meshes that change from frame to frame stand below the person.
function nodesOf(person) {
  return [person.name, `${person.name}_body`].map((name) => root?.getObjectByName(name)).filter(Boolean);
}

const plain = new Map();
function plainOf(person) {
  if (!plain.has(person.name)) plain.set(person.name, new THREE.MeshStandardMaterial({ roughness: 0.75 }));
  return plain.get(person.name);
}

const boxes = new Map();

function show(gltf) {
  if (root) world.remove(root);
  root = gltf.scene;
  root.traverse((o) => { if (o.isSkinnedMesh) o.frustumCulled = false; });
  world.add(root);
  mixer = null;
  duration = 0;
  if (gltf.animations.length) {
    mixer = new THREE.AnimationMixer(root);
    gltf.animations.forEach((a) => mixer.clipAction(a).play());
    duration = Math.max(...gltf.animations.map((a) => a.duration));
  }
  for (const [person, box] of boxes) for (const node of nodesOf(person)) node.visible = box.checked;
  seek(0);
  const { box, ground } = extent();
  const middle = box.getCenter(new THREE.Vector3());
  showAll(box, middle);
  const grid = world.getObjectByName("floor");
  if (grid) world.remove(grid);
  const floor = new THREE.GridHelper(8, 16, 0xb8b8b0, 0xdcdcd6);
  floor.name = "floor";
  floor.position.set(middle.x, ground, middle.z);
  world.add(floor);
  document.body.dataset.loaded = "yes";
}

// Look at a box from the front and a little above, from as near as shows all of it.
function showAll(box, middle) {
  fit();
  controls.target.copy(middle);
  camera.position.copy(middle).add(new THREE.Vector3(0.35, 0.25, 1));
  camera.lookAt(middle);
  camera.updateMatrix();
  const [right, up, back] = [0, 1, 2].map((k) => new THREE.Vector3().setFromMatrixColumn(camera.matrix, k));
  const steep = Math.tan(camera.fov * Math.PI / 360);
  let away = 1.5;
  for (let k = 0; k < 8; k++) {
    const corner = new THREE.Vector3(...["x", "y", "z"].map((c, i) => (k >> i & 1 ? box.max : box.min)[c])).sub(middle);
    const side = Math.max(Math.abs(corner.dot(up)), Math.abs(corner.dot(right)) / camera.aspect);
    away = Math.max(away, corner.dot(back) + 1.1 * side / steep);
  }
  camera.position.copy(middle).addScaledVector(back, away);
}

const MOMENTS = 12;

// Where people are over time, and the height they stand on: of the lowest points of so many moments the lower quartile,
// so that neither a jump nor one frame gone wrong decides.
function extent() {
  const box = new THREE.Box3(), low = [];
  for (let k = 0; k < (mixer ? MOMENTS : 1); k++) {
    mixer?.setTime(duration * k / MOMENTS);
    root.updateMatrixWorld(true);
    const now = new THREE.Box3();
    root.traverse((o) => { if (o.isMesh) now.union(boxOf(o)); });
    if (now.isEmpty()) continue;
    low.push(now.min.y);
    box.union(now);
  }
  mixer?.setTime(time);
  low.sort((a, b) => a - b);
  if (box.isEmpty()) box.setFromObject(root);
  return { box, ground: low.length ? low[Math.floor(low.length / 4)] : box.min.y };
}

// Of a mesh as it stands now; empty where its person is absent, who is shrunk to a point.
function boxOf(mesh) {
  const box = new THREE.Box3();
  if (mesh.isSkinnedMesh) {
    mesh.computeBoundingBox();
    box.copy(mesh.boundingBox).applyMatrix4(mesh.matrixWorld);
  } else {
    box.expandByObject(mesh);
  }
  return box.getSize(new THREE.Vector3()).length() > 0.01 ? box : box.makeEmpty();
}

function seek(seconds) {
  time = duration ? ((seconds % duration) + duration) % duration : 0;
  mixer?.setTime(time);
  const frame = scene.first_frame + Math.round(time * scene.fps);
  element("time").value = duration ? time / duration : 0;
  element("frame").textContent = `frame ${frame} · ${time.toFixed(2)} s`;
  if (element("quality").checked) colourByQuality(true, frame);
}

function load(buffer, said) {
  const failed = (error) => {
    const why = `${error.message ?? error}`;
    const told = why.includes("DRACO") ? "compressed with Draco, which this page cannot read" : why;
    pause(); // or the next frame's number would take the words away
    element("frame").textContent = `${said}: ${told}`;
  };
  try {
    new GLTFLoader().parse(buffer, "", show, failed);
  } catch (error) {
    failed(error);
  }
}

function pause() {
  playing = false;
  element("play").textContent = "Play";
}

function controlsOfPage() {
  element("play").onclick = () => { playing = !playing; element("play").textContent = playing ? "Pause" : "Play"; };
  element("time").oninput = (e) => { pause(); seek(e.target.value * duration); };
  element("cameras").onchange = (e) => { frusta.visible = e.target.checked; };
  element("quality").onchange = (e) => colourByQuality(e.target.checked, scene.first_frame + Math.round(time * scene.fps));
  element("file").onchange = async (e) => { if (e.target.files[0]) load(await e.target.files[0].arrayBuffer(), e.target.files[0].name); };
  for (const person of scene.people) {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.onchange = () => {
      for (const node of nodesOf(person)) node.visible = box.checked;
    };
    boxes.set(person, box);
    label.append(box, ` ${person.label}`);
    element("people").append(label);
  }
}

function fit() {
  const { clientWidth: w, clientHeight: h } = canvas;
  if (canvas.width !== Math.floor(w * renderer.getPixelRatio()) || camera.aspect !== w / h) {
    renderer.setSize(w, h, false);
    camera.aspect = w / h;
    camera.updateProjectionMatrix();
  }
}

function draw() {
  requestAnimationFrame(draw);
  const passed = clock.getDelta();
  fit();
  if (playing && mixer) seek(time + passed * Number(element("speed").value));
  controls.update();
  renderer.render(world, camera);
}

addFrusta();
controlsOfPage();
const embedded = element("glb").textContent.trim();
if (embedded) {
  const bytes = Uint8Array.from(atob(embedded), (c) => c.charCodeAt(0));
  load(bytes.buffer, "the embedded scene");
} else {
  element("frame").textContent = "the scene is too large for this page: open session.glb with the button";
}
// For tests and for those who script: seconds to show, or null to play.
window.troupe = {
  seek: (s) => { pause(); seek(s); }, load, world, camera, controls, duration: () => duration, nodesOf,
};
draw();
