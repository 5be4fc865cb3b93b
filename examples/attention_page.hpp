// One self-contained HTML page that shows what each head of a model looks at. No fetches; opens from disk.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/tensor.hpp>

namespace attention_page {

using attend::Index;

struct Layer {
  attend::TensorView<const float, 2> entropy;  // [H, T]
  attend::TensorView<const Index, 3> keys;     // [H, T, n], -1: none
  attend::TensorView<const float, 3> weights;  // [H, T, n]
};
struct Page {
  std::string title;
  std::vector<std::string> tokens;
  std::vector<Layer> layers = {};
};

/// Numbers in [0, 65535], little-endian, in base 64.
class Packed {
 public:
  explicit Packed(std::ostream& out) : out_(out) {}
  void add(std::uint32_t value) {
    for (const std::uint32_t byte : {value & 255, value >> 8 & 255}) {
      bits_ = bits_ << 8 | byte;
      if (++bytes_ == 3) flush();
    }
  }
  ~Packed() {
    const int missing = bytes_ == 0 ? 0 : 3 - bytes_;
    for (int i = 0; i < missing; ++i) bits_ <<= 8, ++bytes_;
    if (missing > 0) flush(missing);
  }

 private:
  void flush(int missing = 0) {
    constexpr const char* kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < 4; ++i) out_ << (i + missing > 3 ? '=' : kDigits[bits_ >> (18 - 6 * i) & 63]);
    bits_ = 0, bytes_ = 0;
  }

  std::ostream& out_;
  std::uint32_t bits_ = 0;
  int bytes_ = 0;
};

/// How much of a head's weight goes to the token before, to the first, to the token itself; and how evenly it
/// is spread, 1 where all tokens get the same. Means over the queries, in the strongest keys.
inline std::vector<float> patterns(const Layer& layer, Index head) {
  const Index T = layer.keys.size(1);
  std::vector<float> sums(4);
  for (Index q = 0; q < T; ++q) {
    for (Index i = 0; i < layer.keys.size(2); ++i) {
      const Index k = layer.keys(head, q, i);
      if (k < 0) continue;
      const float w = layer.weights(head, q, i);
      if (k == q - 1) sums[0] += w;
      if (k == 0) sums[1] += w;
      if (k == q) sums[2] += w;
    }
    if (T > 1) sums[3] += layer.entropy(head, q) / std::log(static_cast<float>(T));
  }
  for (float& sum : sums) sum = std::round(1000 * sum / static_cast<float>(T)) / 1000;
  return sums;
}

/// JSON as a part of a script: nothing in it ends the script.
inline std::string script_json(const attend::Json& json) {
  std::string out;
  for (char c : json.dump(-1, ' ', true, attend::Json::error_handler_t::replace))
    c == '<' ? out += "\\u003c" : out += c;
  return out;
}

inline constexpr const char* kBegin = R"html(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<style>
:root{color-scheme:light dark;--fg:#1d2330;--bg:#fff;--soft:#e8ebf1;--line:#b9c0cd;--ink:29,78,160}
@media(prefers-color-scheme:dark){:root:not(.light){--fg:#e4e8f0;--bg:#14171d;--soft:#232833;--line:#475063;--ink:120,170,255}}
:root.dark{--fg:#e4e8f0;--bg:#14171d;--soft:#232833;--line:#475063;--ink:120,170,255}
body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);margin:1.2rem auto;max-width:1100px;padding:0 1rem}
h1{font-size:1.25rem}h2{font-size:1.05rem}button,select,input{font:inherit;color:inherit;background:var(--soft);border:1px solid var(--line);border-radius:5px;padding:.15rem .5rem}
#heads{display:grid;grid-template-columns:repeat(auto-fill,minmax(68px,1fr));gap:6px}
#heads button{padding:3px;font-size:11px;line-height:1.2}#heads canvas{width:100%;aspect-ratio:1;display:block;image-rendering:pixelated}
[aria-pressed=true]{outline:3px solid rgb(var(--ink))}.bar{display:flex;flex-wrap:wrap;gap:.6rem;align-items:center;margin:.7rem 0}
#flow{line-height:2;max-height:22rem;overflow:auto;border:1px solid var(--line);border-radius:5px;padding:.5rem}
#flow button{border:0;padding:0 .12em;background:none;border-radius:3px}svg{max-width:100%;height:auto}svg text{fill:var(--fg);font:12px system-ui,sans-serif}
table{border-collapse:collapse;font-size:13px}td,th{border:1px solid var(--line);padding:1px 6px;text-align:left}#tip{min-height:1.6em}
@media print{.bar,details{display:none}body{max-width:none}#heads{grid-template-columns:repeat(12,1fr)}}
</style></head><body>
)html";

inline constexpr const char* kEnd = R"html(
<h1></h1>
<div class="bar"><label>Rank heads by <select id="rank"><option value="-1">layer</option><option value="0">previous token</option><option value="1">first token</option><option value="2">the token itself</option><option value="3">spread (entropy)</option></select></label>
<label>Only tokens with <input id="filter" size="12"></label><button id="theme">Light or dark</button></div>
<h2 id="h-heads">All layers and heads</h2><div id="heads" role="group" aria-labelledby="h-heads"></div>
<h2 id="name"></h2><p id="about"></p>
<div class="bar"><button id="matrix" aria-pressed="true">Square</button><button id="lines" aria-pressed="false">Lines</button><button id="save">Save as SVG</button></div>
<div id="view"></div><p id="tip" role="status" aria-live="polite"></p>
<h2>Text</h2><div id="flow" role="group" aria-label="tokens"></div>
<details id="details"><summary>As a table</summary><div id="table"></div></details>
<script>
"use strict";
const $=id=>document.getElementById(id),unpack=t=>{const s=atob(t),b=new Uint8Array(s.length);for(let i=0;i<s.length;i++)b[i]=s.charCodeAt(i);return new Uint16Array(b.buffer,0,b.length>>1)};
const {tokens,title,L,H,n,patterns}=data,T=tokens.length,keys=packed.map(p=>unpack(p[0])),weights=packed.map(p=>unpack(p[1])),small=T<=64;
tokens.forEach((t,i)=>{const b=/^<0x([2-7][0-9A-F])>$/.exec(t);if(b)tokens[i]=String.fromCharCode(parseInt(b[1],16))});
const kinds=["previous token","first token","the token itself","spread"];
let layer=0,head=0,token=-1,view="matrix",order=[];
document.title=title+": attention";document.querySelector("h1").textContent=title+": what "+L*H+" heads look at in "+T+" tokens";
const at=(l,h,q)=>{const out=[],o=(h*T+q)*n;for(let i=0;i<n;i++)if(keys[l][o+i]!==65535)out.push([keys[l][o+i],weights[l][o+i]/65535]);return out};
const percent=w=>(100*w).toFixed(w<.1?1:0)+" %";
const ink=()=>getComputedStyle(document.documentElement).getPropertyValue("--ink");
const shown=()=>{const f=$("filter").value.toLowerCase();return tokens.map((t,i)=>i).filter(i=>!f||tokens[i].toLowerCase().includes(f))};
function thumbnail(canvas,l,h){const size=Math.min(T,48),c=canvas.getContext("2d"),sums=new Float32Array(size*size);canvas.width=canvas.height=size;
 const step=T>2000?Math.ceil(T/1000):1;
 for(let q=0;q<T;q+=step){const y=Math.floor(q*size/T),o=(h*T+q)*n;for(let i=0;i<n;i++){const k=keys[l][o+i];if(k!==65535)sums[y*size+Math.floor(k*size/T)]+=weights[l][o+i]/65535}}
 let most=0;for(const s of sums)most=Math.max(most,s);const rgb=ink();
 for(let y=0;y<size;y++)for(let x=0;x<size;x++){const a=sums[y*size+x]/(most||1);if(a>.02){c.fillStyle="rgba("+rgb+","+a+")";c.fillRect(x,y,1,1)}}}
function heads(){const r=+$("rank").value;order=[];for(let l=0;l<L;l++)for(let h=0;h<H;h++)order.push([l,h]);
 if(r>=0)order.sort((a,b)=>patterns[b[0]][b[1]][r]-patterns[a[0]][a[1]][r]);
 $("heads").replaceChildren(...order.map(([l,h])=>{const b=document.createElement("button"),c=document.createElement("canvas");
  const p=patterns[l][h];b.append(c,l+"."+h+(r>=0?" "+percent(p[r]):""));b.setAttribute("aria-label","layer "+l+", head "+h+": "+kinds.map((k,i)=>k+" "+percent(p[i])).join(", "));
  b.title=b.getAttribute("aria-label");b.setAttribute("aria-pressed",l===layer&&h===head);b.onclick=()=>{layer=l;head=h;mark();draw()};thumbnail(c,l,h);return b}))}
function mark(){order.forEach(([l,h],i)=>$("heads").children[i].setAttribute("aria-pressed",l===layer&&h===head))}
function svg(w,h){const s=document.createElementNS("http://www.w3.org/2000/svg","svg");s.setAttribute("viewBox","0 0 "+w+" "+h);s.setAttribute("width",w);s.setAttribute("height",h);s.setAttribute("role","img");s.setAttribute("aria-label",$("name").textContent+"; the table below has its numbers");return s}
function put(s,name,attributes,text){const e=document.createElementNS("http://www.w3.org/2000/svg",name);for(const k in attributes)e.setAttribute(k,attributes[k]);if(text!==undefined)e.textContent=text;s.append(e);return e}
const tip=q=>$("tip").textContent=q<0?"":tokens[q]+" looks at "+at(layer,head,q).slice(0,8).map(([k,w])=>tokens[k]+" "+percent(w)).join(", ");
function rows(){let r=shown();if(r.length>64){const c=token<0?0:Math.max(0,r.findIndex(i=>i>=token));r=r.slice(Math.max(0,c-16),Math.max(0,c-16)+48)}return r}
function matrix(){const r=rows(),seen=small?tokens.map((t,i)=>i):[...new Set(r.flatMap(q=>at(layer,head,q).slice(0,3).map(x=>x[0])))].sort((a,b)=>a-b).slice(0,64);
 const cell=16,left=110,up=90,s=svg(left+cell*seen.length+10,up+cell*r.length+10),rgb=ink(),column=new Map(seen.map((k,i)=>[k,i]));
 seen.forEach((k,i)=>put(s,"text",{transform:"translate("+(left+i*cell+12)+","+(up-5)+") rotate(-60)","font-size":11},tokens[k]));
 r.forEach((q,y)=>{put(s,"text",{x:left-6,y:up+y*cell+12,"text-anchor":"end","font-size":11},tokens[q]);
  const row=put(s,"g",{"data-q":q});put(row,"rect",{x:left,y:up+y*cell,width:cell*seen.length,height:cell,fill:"rgb("+rgb+")","fill-opacity":q===token?.12:.02});
  const all=at(layer,head,q),most=small?1:all.length?all[0][1]:1;for(const [k,w] of all)if(column.has(k)&&w>.004*most){const e=put(row,"rect",{x:left+column.get(k)*cell,y:up+y*cell,width:cell-1,height:cell-1,fill:"rgb("+rgb+")","fill-opacity":(w/most).toFixed(3)});put(e,"title",{},tokens[q]+" → "+tokens[k]+" "+percent(w))}
  row.onmouseenter=()=>tip(q);row.onclick=()=>choose(q)});return s}
function linesView(){const r=rows(),seen=small?tokens.map((t,i)=>i):[...new Set([...r,...r.flatMap(q=>at(layer,head,q).slice(0,3).map(x=>x[0]))])].sort((a,b)=>a-b).slice(0,80);
 const step=18,s=svg(460,step*Math.max(r.length,seen.length)+20),rgb=ink(),y=new Map(seen.map((k,i)=>[k,i]));
 r.forEach((q,i)=>{const faint=token>=0&&q!==token;if(!faint)for(const [k,w] of at(layer,head,q))if(y.has(k)&&w>.01)put(s,"line",{x1:155,y1:step*i+12,x2:305,y2:step*y.get(k)+12,stroke:"rgb("+rgb+")","stroke-opacity":w.toFixed(3),"stroke-width":2});
  const t=put(s,"text",{x:150,y:step*i+16,"text-anchor":"end","data-q":q,"fill-opacity":faint?.5:1},tokens[q]);t.style.cursor="pointer";t.onmouseenter=()=>{tip(q)};t.onclick=()=>choose(q)});
 seen.forEach((k,i)=>put(s,"text",{x:310,y:step*i+16},tokens[k]));return s}
function flow(){const looked=token<0?new Map():new Map(at(layer,head,token)),rgb=ink(),f=$("flow");
 if(f.children.length!==T)f.replaceChildren(...tokens.map((t,i)=>{const b=document.createElement("button");b.textContent=t.replace(/^##|^[Ġ▁]/,"");b.onclick=()=>choose(i);b.onmouseenter=()=>tip(i);return b}));
 const keep=new Set(shown());for(let i=0;i<T;i++){const b=f.children[i],w=looked.get(i)||0;b.style.background=w>0?"rgba("+rgb+","+Math.max(.08,w)+")":"";b.style.opacity=keep.has(i)?1:.35;b.setAttribute("aria-pressed",i===token)}}
function table(){const t=document.createElement("table"),r=token>=0?[token]:rows();t.innerHTML="<thead><tr><th>token<th>looks at</thead>";
 for(const q of r){const tr=t.insertRow();tr.insertCell().textContent=tokens[q];for(const [k,w] of at(layer,head,q).slice(0,10))tr.insertCell().textContent=tokens[k]+" "+percent(w)}$("table").replaceChildren(t)}
function draw(){$("name").textContent="Layer "+layer+", head "+head;$("about").textContent=kinds.map((k,i)=>k+" "+percent(patterns[layer][head][i])).join(", ");
 $("view").replaceChildren(view==="matrix"?matrix():linesView());for(const v of["matrix","lines"])$(v).setAttribute("aria-pressed",v===view);flow();if($("details").open)table()}
function choose(q){token=token===q?-1:q;draw();tip(token)}
$("rank").onchange=heads;$("filter").oninput=draw;$("matrix").onclick=()=>{view="matrix";draw()};$("lines").onclick=()=>{view="lines";draw()};$("details").ontoggle=()=>{if($("details").open)table()};
$("theme").onclick=()=>{const c=document.documentElement.classList,dark=c.contains("dark")||(!c.contains("light")&&matchMedia("(prefers-color-scheme:dark)").matches);c.toggle("dark",!dark);c.toggle("light",dark);heads();draw()};
$("save").onclick=()=>{const s=$("view").firstChild.cloneNode(true),fg=getComputedStyle(document.documentElement).getPropertyValue("--fg");s.setAttribute("xmlns","http://www.w3.org/2000/svg");
 for(const t of s.querySelectorAll("text")){t.setAttribute("fill",fg);t.setAttribute("font-family","sans-serif");if(!t.hasAttribute("font-size"))t.setAttribute("font-size",12)}
 const a=document.createElement("a");a.href=URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(s)],{type:"image/svg+xml"}));a.download="attention_layer"+layer+"_head"+head+".svg";a.click()};
document.onkeydown=e=>{if(e.target.matches("input,select"))return;const i=order.findIndex(([l,h])=>l===layer&&h===head),d={ArrowRight:1,ArrowLeft:-1}[e.key],u={ArrowDown:1,ArrowUp:-1}[e.key];
 if(d&&order[i+d]){[layer,head]=order[i+d];mark();draw();e.preventDefault()}else if(u&&e.altKey){choose(Math.min(T-1,Math.max(0,token+u)));e.preventDefault()}else if(e.key==="Escape"){token=-1;draw()}};
heads();draw();
</script></body></html>
)html";

inline void write(std::ostream& out, const Page& page) {
  const std::size_t heads = page.layers.empty() ? 0 : static_cast<std::size_t>(page.layers[0].keys.size(0));
  attend::Json pattern = attend::Json::array();
  for (const Layer& layer : page.layers) {
    attend::Json of_heads = attend::Json::array();
    for (std::size_t h = 0; h < heads; ++h) of_heads.push_back(patterns(layer, static_cast<Index>(h)));
    pattern.push_back(std::move(of_heads));
  }
  out << kBegin << "<script>\nconst data="
      << script_json({{"title", page.title},
                      {"tokens", page.tokens},
                      {"L", page.layers.size()},
                      {"H", heads},
                      {"n", page.layers.empty() ? 0 : page.layers[0].keys.size(2)},
                      {"patterns", std::move(pattern)}})
      << ";\nconst packed=[";
  for (const Layer& layer : page.layers) {
    out << "[\"";
    {
      Packed keys(out);
      layer.keys.for_each(
          [&](Index k) { keys.add(k < 0 ? 65535 : static_cast<std::uint32_t>(std::min<Index>(k, 65534))); });
    }
    out << "\",\"";
    {
      Packed weights(out);
      layer.weights.for_each([&](float w) {
        weights.add(static_cast<std::uint32_t>(std::lround(65535 * std::clamp(w, 0.0f, 1.0f))));
      });
    }
    out << "\"],\n";
  }
  out << "];\n</script>" << kEnd;
}

}  // namespace attention_page
