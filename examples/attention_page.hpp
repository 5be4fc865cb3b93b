// One self-contained HTML page that shows what each head of a model looks at. No fetches; opens from disk.
#pragma once

#include <algorithm>
#include <cmath>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/tensor.hpp>

namespace attention_page {

using attend::Index;

struct Layer {
  attend::Tensor<float, 3> entropy;  // [1, H, T]
  attend::Tensor<Index, 4> keys;     // [1, H, T, n]: the strongest first, -1: none
  attend::Tensor<float, 4> weights;  // [1, H, T, n]
};
/// A text, and what was seen of it.
struct Page {
  std::string title = {}, note = {};
  std::vector<std::string> tokens = {};
  std::vector<std::string> sources = {};  // what they look at, where that is another text
  std::vector<Layer> layers = {};
  std::vector<std::pair<std::string, float>> answers =
      {};                     // classes and their probabilities, where there are some
  Index layer = 0, head = 0;  // what is shown first

  Index keys() const { return static_cast<Index>((sources.empty() ? tokens : sources).size()); }
};

/// A layer of which all weights are known: [H, T, T].
inline Layer all_keys(attend::TensorView<const float, 3> weights) {
  const Index H = weights.size(0), T = weights.size(1);
  Layer layer{attend::Tensor<float, 3>({1, H, T}), attend::Tensor<Index, 4>({1, H, T, T}),
              attend::Tensor<float, 4>({1, H, T, T})};
  for (Index h = 0; h < H; ++h)
    for (Index q = 0; q < T; ++q) {
      const auto row = weights[h][q];
      const auto keys = layer.keys[0][h][q].span();
      for (Index k = 0; k < T; ++k) keys[static_cast<std::size_t>(k)] = k;
      std::stable_sort(keys.begin(), keys.end(), [&](Index a, Index b) { return row[a] > row[b]; });
      for (Index i = 0; i < T; ++i) {
        const float w = layer.weights(0, h, q, i) = row[layer.keys(0, h, q, i)];
        if (w > 0) layer.entropy(0, h, q) -= w * std::log(w);
      }
    }
  return layer;
}

/// A layer's keys and the roots of their weights, of which small ones matter, as numbers of four digits in
/// base 64, which the script reads where they stand: 4,000 tokens of a model of 144 heads are 18 MB of them.
inline std::string packed(const Layer& layer, Index T) {
  constexpr const char* kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const Index levels = (1 << 24) / (T + 1);
  if (levels < 2) attend::throw_error("a page of attention has room for 8388607 tokens, got ", T);
  const std::span<const Index> keys = layer.keys.span();
  std::string out;
  out.reserve(4 * keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const float root = std::sqrt(std::clamp(layer.weights.span()[i], 0.0f, 1.0f));
    const Index bits =
        keys[i] < 0 ? T * levels : keys[i] * levels + std::lround(root * static_cast<float>(levels - 1));
    for (int shift = 18; shift >= 0; shift -= 6) out += kDigits[bits >> shift & 63];
  }
  return out;
}

/// How much of a head's weight goes to the token before, to the first, to the token itself; and how evenly it
/// is spread, 1 where all tokens get the same. Means over the queries, in the strongest keys.
inline std::vector<float> patterns(const Layer& layer, Index head, Index keys) {
  const Index T = layer.keys.size(2);
  std::vector<float> sums(4);
  for (Index q = 0; q < T; ++q) {
    for (Index i = 0; i < layer.keys.size(3); ++i) {
      const Index k = layer.keys(0, head, q, i);
      if (k < 0) continue;
      const float w = layer.weights(0, head, q, i);
      if (k == q - 1) sums[0] += w;
      if (k == 0) sums[1] += w;
      if (k == q) sums[2] += w;
    }
    if (keys > 1) sums[3] += layer.entropy(0, head, q) / std::log(static_cast<float>(keys));
  }
  for (float& sum : sums) sum = std::round(1000 * sum / static_cast<float>(T)) / 1000;
  return sums;
}

/// JSON that can stand in a script: nothing in it ends one.
inline std::string script_text(const attend::Json& json) {
  std::string out;
  for (char c : json.dump(-1, ' ', true, attend::Json::error_handler_t::replace))
    c == '<' ? out += "\\u003c" : out += c;
  return out;
}

/// A page as its script takes it. Keys that are not in it are in blocks of their own: see `write`.
inline std::string to_json(const Page& page, bool with_keys = true) {
  attend::Json layers = attend::Json::array();
  for (const Layer& layer : page.layers) {
    attend::Json of_heads = attend::Json::array();
    for (Index h = 0; h < layer.keys.size(1); ++h) of_heads.push_back(patterns(layer, h, page.keys()));
    layers.push_back({{"patterns", std::move(of_heads)}});
    if (with_keys) layers.back()["keys"] = packed(layer, page.keys());
  }
  return script_text({{"title", page.title},
                      {"note", page.note},
                      {"tokens", page.tokens},
                      {"sources", page.sources},
                      {"answers", page.answers},
                      {"layer", page.layer},
                      {"head", page.head},
                      {"H", page.layers.empty() ? 0 : page.layers[0].keys.size(1)},
                      {"n", page.layers.empty() ? 0 : page.layers[0].keys.size(3)},
                      {"layers", std::move(layers)}});
}

inline constexpr const char* kBegin = R"html(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<style>
:root{color-scheme:light;--fg:#1d2330;--faint:#5b6577;--bg:#fff;--soft:#f1f3f7;--line:#c3c9d5;--ink:29,78,160}
@media(prefers-color-scheme:dark){:root:not(.light){color-scheme:dark;--fg:#e4e8f0;--faint:#9aa5b8;--bg:#14171d;--soft:#20252e;--line:#475063;--ink:120,170,255}}
:root.dark{color-scheme:dark;--fg:#e4e8f0;--faint:#9aa5b8;--bg:#14171d;--soft:#20252e;--line:#475063;--ink:120,170,255}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);margin:1.2rem auto;max-width:1360px;padding:0 1.2rem}
h1{font-size:1.3rem;margin:0}h2{font-size:1.05rem;margin:0}p{margin:.2rem 0}
button,select,input{font:inherit;color:inherit;background:var(--soft);border:1px solid var(--line);border-radius:6px;padding:.2rem .55rem}
button{cursor:pointer}button:hover{border-color:rgb(var(--ink))}:focus-visible{outline:3px solid rgba(var(--ink),.55);outline-offset:1px}
.bar{display:flex;flex-wrap:wrap;gap:.5rem .9rem;align-items:center;margin:.6rem 0}.faint{color:var(--faint)}[hidden]{display:none!important}
#typed{width:min(46rem,100%)}.wide{flex:1 1 100%}#text{max-width:min(46rem,100%)}
#answers{display:grid;grid-template-columns:max-content minmax(8rem,20rem) max-content;gap:.15rem .6rem;align-items:center}
#answers i{display:block;height:.8rem;background:rgb(var(--ink));border-radius:3px;transition:width .15s}#answers b+i,#answers div{background:var(--soft);border-radius:3px}
.alive #note{min-height:1.5em}#note:empty{margin:0}
main{display:grid;grid-template-columns:minmax(230px,30%) minmax(0,1fr);gap:1.6rem;align-items:start;margin-top:.8rem}
#overview{position:sticky;top:.6rem;max-height:calc(100vh - 1.2rem);overflow:auto;padding:3px}
#heads{display:grid;gap:4px;align-items:center}#heads span{font-size:11px;color:var(--faint);text-align:center}#heads button{padding:2px;font-size:10.5px;line-height:1.25;color:var(--faint);min-width:0;overflow:hidden}
#heads canvas{width:100%;aspect-ratio:1;display:block;image-rendering:pixelated;background:var(--bg)}
[aria-pressed=true]{outline:2.5px solid rgb(var(--ink));outline-offset:-1px}
#view{overflow-x:auto}#view svg{display:block;max-width:100%;height:auto}svg text{fill:var(--fg);font-family:system-ui,sans-serif}
svg .w{fill:rgb(var(--ink))}svg line{stroke:rgb(var(--ink))}svg .ground{fill:var(--soft)}svg g[data-q]{cursor:pointer}
svg.hot g[data-q]:not(.on){opacity:.15}svg.square.hot g[data-q]:not(.on){opacity:.45}svg .chosen{font-weight:700}
#tip{min-height:3em}
#flow{line-height:1.9;max-height:21rem;overflow:auto;border:1px solid var(--line);border-radius:6px;padding:.4rem .6rem;margin-top:.4rem}
#flow div{content-visibility:auto;contain-intrinsic-size:auto 12rem}#flow button{border:0;padding:0 1px;background:none;border-radius:3px;white-space:pre;print-color-adjust:exact;-webkit-print-color-adjust:exact}
#flow button:hover{box-shadow:inset 0 -2px rgb(var(--ink))}
table{border-collapse:collapse;font-size:13px;margin:.4rem 0}td,th{border:1px solid var(--line);padding:1px 7px;text-align:left;font-weight:400}thead th{font-weight:600}details{margin:.8rem 0}
@media(max-width:760px){main{grid-template-columns:1fr}#overview{position:static;max-height:20rem}}
@media print{.bar,details:not([open]),#tip{display:none}body{max-width:none;margin:0}main{display:block}#overview{position:static;max-height:none;break-inside:avoid;margin-bottom:1rem}#heads{max-width:60%}#flow{max-height:none}#view,#heads canvas{print-color-adjust:exact;-webkit-print-color-adjust:exact}#view svg{max-height:16cm;width:auto}}
</style></head><body>
)html";

inline constexpr const char* kBody = R"html(<h1></h1>
<div class="bar"><label class="wide" id="live" hidden>Type a sentence, and see the attention change at every key<br><input id="typed" autocomplete="off" spellcheck="false"></label>
<label id="texts" hidden>Text <select id="text"></select></label></div>
<div id="answers" aria-live="polite"></div><p id="note" class="faint" role="status"></p>
<div class="bar"><label>Rank heads by <select id="rank"><option value="-1">layer</option><option value="0">previous token</option><option value="1">first token</option><option value="2">the token itself</option><option value="3">spread (entropy)</option></select></label>
<label>Only tokens with <input id="filter" size="12"></label><button id="theme">Light or dark</button>
<span class="faint">Keys: ← → heads, Alt ↑ ↓ tokens, Esc none</span></div>
<main><section id="overview"><h2 id="all">All layers and heads</h2><p class="faint" id="order"></p><div id="heads" role="group" aria-labelledby="all"></div></section>
<section><h2 id="name"></h2><p class="faint" id="about"></p>
<div class="bar"><button id="square" aria-pressed="true">Square</button><button id="lines" aria-pressed="false">Lines</button><button id="save">Save as SVG</button></div>
<div id="view"></div><p id="tip" role="status" aria-live="polite"></p>
<h2>Text</h2><div id="flow" role="group" aria-label="tokens; one that is chosen shows what it looks at"></div>
<details id="details"><summary>As a table</summary><div id="table"></div></details></section></main>
)html";

inline constexpr const char* kScript = R"html(
"use strict";
const $=id=>document.getElementById(id),make=(name,text)=>{const e=document.createElement(name);if(text!==undefined)e.textContent=text;return e};
const digits=new Uint8Array(128);[..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"].forEach((c,i)=>digits[c.charCodeAt(0)]=i);
const kinds=["previous token","first token","the token itself","spread"];
const percent=w=>(100*w).toFixed(w<.0995?1:0)+" %";
const bytes=new Map();{let n=0;for(let b=0;b<256;b++)bytes.set(b>32&&b<127||b>160&&b!==173?String.fromCharCode(b):String.fromCharCode(256+n++),b)}
const loaded=new Promise(f=>document.readyState==="complete"?f():addEventListener("load",f));
let page,T,K,L,H,n,small,names,others,layer=0,head=0,token=-1,view="square",order=[],drawing=0;
// Tokens as they are read: each vocabulary has its own sign for a blank, or for none.
function readable(tokens){
 const blank=tokens.some(t=>t.startsWith("Ġ"))?"Ġ":tokens.some(t=>t.startsWith("▁"))?"▁":"";
 page.spaced=tokens.map((t,i)=>i>0&&(blank?t.startsWith(blank):!t.startsWith("##")));
 return tokens.map(t=>{
  const byte=/^<0x([0-9A-F]{2})>$/.exec(t);
  if(byte){const b=parseInt(byte[1],16);return b===10?"⏎":b>31&&b<127?String.fromCharCode(b):t}
  if(blank==="Ġ"&&[...t].every(c=>bytes.has(c)))t=new TextDecoder().decode(Uint8Array.from([...t],c=>bytes.get(c))).replace(/^ (?=.)/,"");
  else if(blank)t=t.replace(/^▁(?=.)/,"").replaceAll("▁"," ");
  else t=t.replace(/^##(?=.)/,"");
  return t.replaceAll("\n","⏎").replace(/^ +$/,s=>"␣".repeat(s.length))})}
function show(p){
 page=p;T=p.tokens.length;L=p.layers.length;H=p.H;n=p.n;others=readable(p.sources);names=readable(p.tokens);if(!others.length)others=names;K=others.length;small=Math.max(T,K)<=64;
 layer=Math.min(layer,L-1);head=Math.min(head,H-1);if(token>=T)token=-1;
 $("square").textContent=small?"Square":"Top keys";$("flow").replaceChildren();$("note").textContent=p.note;
 $("answers").replaceChildren(...p.answers.flatMap(([name,w])=>{const b=make("div"),i=make("i");i.style.width=100*w+"%";b.append(i);return[make("span",name),b,make("span",percent(w))]}));
 heads();draw()}
// A layer's keys, as digits: a comment, which browsers read twice as fast as an element's text. Comments stand behind
// the script, but for those that are shown first, and may be on their way.
const of=l=>{const o=page.layers[l];if(!o.keys){const e=$("keys"+pages.indexOf(page)+"."+l);if(e&&e.nextSibling)o.keys=e.nextSibling.data}return o.keys||""};
// f(key, weight) of the keys of a token, the strongest first.
function each(l,h,q,f){const s=of(l),levels=Math.floor(16777216/(K+1)),end=4*((h*T+q)*n+n);
 if(s)for(let i=end-4*n;i<end;i+=4){const v=digits[s.charCodeAt(i)]<<18|digits[s.charCodeAt(i+1)]<<12|digits[s.charCodeAt(i+2)]<<6|digits[s.charCodeAt(i+3)],k=Math.floor(v/levels);if(k<K)f(k,(v%levels/(levels-1))**2)}}
const at=(l,h,q)=>{const out=[];each(l,h,q,(k,w)=>out.push([k,w]));return out};
const ink=()=>getComputedStyle(document.documentElement).getPropertyValue("--ink");
const shown=()=>{const f=$("filter").value.trim().toLowerCase();return names.map((t,i)=>i).filter(i=>!f||names[i].toLowerCase().includes(f))};
function thumbnail(canvas,l,h,rgb){
 const wide=Math.min(K,48),high=Math.min(T,48),c=canvas.getContext("2d"),sums=new Float32Array(wide*high),step=Math.ceil(T/1000);
 canvas.width=wide;canvas.height=high;
 for(let q=0;q<T;q+=step){const y=Math.floor(q*high/T)*wide;each(l,h,q,(k,w)=>sums[y+Math.floor(k*wide/K)]+=w)}
 // Of a long text the first tokens, which have few others to look at, would leave all else pale.
 const most=Math.max(1e-5,T>high?sums.slice().sort()[Math.floor(.99*sums.length)]:1);
 const image=c.createImageData(wide,high),[r,g,b]=rgb.split(",");
 sums.forEach((s,i)=>image.data.set([r,g,b,255*Math.sqrt(Math.min(1,s/most))],4*i));c.putImageData(image,0,0)}
function heads(){
 const r=+$("rank").value,rgb=ink(),pattern=(l,h)=>page.layers[l].patterns[h];
 order=[];for(let l=0;l<L;l++)for(let h=0;h<H;h++)order.push([l,h]);
 if(r>=0)order.sort((a,b)=>pattern(...b)[r]-pattern(...a)[r]);
 $("order").textContent=r>=0?"by how much they look at: "+kinds[r]:"a row for each layer, a column for each head";
 const columns=r<0?H:Math.min(6,H),label=t=>make("span",t),todo=[];
 $("heads").style.gridTemplateColumns=(r<0?"max-content ":"")+"repeat("+columns+",minmax(0,1fr))";
 const buttons=order.map(([l,h])=>{const b=make("button"),c=make("canvas"),p=pattern(l,h);
  b.append(c,r>=0?percent(p[r]):"");b.title="layer "+l+", head "+h+": "+kinds.map((k,i)=>k+" "+percent(p[i])).join(", ");
  b.dataset.head=l+"."+h;b.setAttribute("aria-label",b.title);b.onclick=()=>choose_head(l,h);c.width=c.height=1;todo.push([c,l,h,rgb]);return b});
 $("heads").replaceChildren(...r<0?[label(""),...buttons.slice(0,H).map((b,h)=>label(h)),...buttons.flatMap((b,i)=>i%H?[b]:[label(i/H),b])]:buttons);mark();
 // Many of a long text take a while: when all of the page is there, a few at a time.
 const mine=++drawing,some=()=>{for(const end=performance.now()+30;todo.length&&performance.now()<end;)thumbnail(...todo.shift());if(todo.length&&mine===drawing)setTimeout(some)};
 document.readyState==="complete"&&T<=256?some():loaded.then(()=>setTimeout(some))}
function mark(){for(const b of $("heads").querySelectorAll("button"))b.setAttribute("aria-pressed",b.dataset.head===layer+"."+head)}
function choose_head(l,h){layer=l;head=h;mark();draw()}
function choose(q){token=token===q?-1:q;draw();tip(token)}
function tip(q){$("tip").textContent=q<0?"":names[q]+" looks at "+at(layer,head,q).slice(0,8).filter(([k,w],i)=>i===0||w>=.005).map(([k,w])=>others[k]+" "+percent(w)).join(", ")}
)html";

inline constexpr const char* kViews = R"html(
function put(s,name,attributes,text){const e=document.createElementNS("http://www.w3.org/2000/svg",name);for(const k in attributes)e.setAttribute(k,attributes[k]);if(text!==undefined)e.textContent=text;s.append(e);return e}
function svg(w,h,kind){const s=put(document.createDocumentFragment(),"svg",{viewBox:"0 0 "+w+" "+h,width:w,height:h,role:"img",class:kind});
 s.setAttribute("aria-label",$("name").textContent+"; the table below has its numbers");return s}
const cut=t=>t.length>16?t.slice(0,15)+"…":t;
const measure=make("canvas").getContext("2d"),width=(texts,size)=>{measure.font=size+"px system-ui,sans-serif";return Math.ceil(Math.max(0,...texts.map(t=>measure.measureText(t).width)))};
// Of a long text a piece is shown: around the token that is chosen, or from the first that the filter leaves.
function rows(most){const r=shown(),c=token<0?0:r.findIndex(i=>i>=token),from=Math.max(0,Math.min((c<0?r.length:c)-most/4,r.length-most));return r.length<=most?r:r.slice(from,from+most)}
function group(s,q){const g=put(s,"g",{"data-q":q});
 g.onmouseenter=()=>{tip(q);s.classList.add("hot");g.classList.add("on")};g.onmouseleave=()=>{s.classList.remove("hot");g.classList.remove("on");tip(token)};g.onclick=()=>choose(q);return g}
function square(){
 const r=rows(64),most=Math.max(T,K),cell=most<=14?30:most<=24?22:most<=40?16:12,font=Math.min(14,cell-1),labels=names.map(cut),above=others.map(cut),long=width([...labels,...above],font),left=long+8,up=Math.ceil(long*.87)+12;
 const s=svg(left+cell*K+Math.ceil(long*.5)+6,up+cell*r.length+2,"square");
 above.forEach((t,k)=>put(s,"text",{transform:"translate("+(left+k*cell+cell*.62)+","+(up-5)+") rotate(-60)","font-size":font},t));
 r.forEach((q,y)=>{const g=group(s,q),top=up+y*cell;put(g,"text",{x:left-6,y:top+cell/2+font*.35,"text-anchor":"end","font-size":font,class:q===token?"chosen":""},labels[q]);
  put(g,"rect",{x:left,y:top,width:cell*K,height:cell-1,class:"ground","fill-opacity":q===token?1:.55});
  for(const [k,w] of at(layer,head,q))if(w>.004){const e=put(g,"rect",{x:left+k*cell,y:top,width:cell-1,height:cell-1,class:"w","fill-opacity":w.toFixed(3)});put(e,"title",{},names[q]+" → "+others[k]+" "+percent(w))}});
 return s}
function top_keys(){
 const r=rows(28),step=24,most=Math.min(n,8),labels=r.map(q=>q+"  "+cut(names[q])),left=width(labels,13)+12,column=104,s=svg(left+column*most,step*r.length+22,"keys");
 put(s,"text",{x:left,y:12,"font-size":12,"fill-opacity":.75},"looks at, the most first; a bar is its share of the weight");
 r.forEach((q,y)=>{const g=group(s,q),top=20+y*step;put(g,"rect",{x:0,y:top,width:left+column*most,height:step-1,class:"ground","fill-opacity":q===token?1:.35});
  put(g,"text",{x:left-8,y:top+16,"text-anchor":"end","font-size":13,class:q===token?"chosen":""},labels[y]);
  at(layer,head,q).slice(0,most).forEach(([k,w],i)=>{const x=left+i*column;put(g,"rect",{x,y:top+step-5,width:Math.max(1,(column-10)*w),height:4,class:"w"});
   const t=put(g,"text",{x,y:top+15,"font-size":12},others[k].slice(0,8)+" "+percent(w));put(t,"title",{},names[q]+" ("+q+") → "+others[k]+" ("+k+") "+percent(w))})});
 return s}
function lines(){
 const r=rows(small?64:32),seen=small?others.map((t,i)=>i):[...new Set([...others===names?r:[],...r.flatMap(q=>at(layer,head,q).slice(0,3).map(x=>x[0]))])].sort((a,b)=>a-b).slice(0,64);
 const step=T<=24?24:18,font=T<=24?15:13,long=width([...names,...others].map(cut),font),left=long+8,right=left+260,s=svg(right+long+12,step*Math.max(r.length,seen.length)+8,"lines"),y=new Map(seen.map((k,i)=>[k,i]));
 r.forEach((q,i)=>{const g=group(s,q),faint=token>=0&&q!==token;put(g,"rect",{x:0,y:step*i+2,width:left,height:step,"fill-opacity":0});
  if(!faint)for(const [k,w] of at(layer,head,q))if(y.has(k)&&w>.02)put(g,"line",{x1:left+4,y1:step*i+step/2+2,x2:right-4,y2:step*y.get(k)+step/2+2,"stroke-opacity":w.toFixed(3),"stroke-width":Math.max(1,3.5*w)});
  put(g,"text",{x:left-2,y:step*i+step/2+2+font*.35,"text-anchor":"end","font-size":font,class:q===token?"chosen":"","fill-opacity":faint?.5:1},cut(names[q]))});
 seen.forEach((k,i)=>put(s,"text",{x:right+2,y:step*i+step/2+2+font*.35,"font-size":font},cut(others[k])));return s}
// In pieces, of which only those that are seen are laid out. As a text: thousands of elements take long one by one.
const plain=t=>t.replace(/[&<>]/g,c=>"&#"+c.charCodeAt()+";");
function flow(){
 const looked=token<0||others!==names?new Map():new Map(at(layer,head,token)),rgb=ink(),f=$("flow"),keep=new Set(shown()),most=Math.max(.001,...looked.values());
 if(!f.firstChild){let s="";for(let i=0,from;i<T;i++){if(!i||i-from>199&&(page.spaced[i]||i-from>299)){s+=i?"</div><div>":"<div>";from=i}s+=(page.spaced[i]?" ":"")+'<button data-i="'+i+'" aria-pressed="false">'+plain(names[i])+"</button>"}f.innerHTML=s+"</div>";if(token<0&&keep.size===T)return}
 [...f.querySelectorAll("button")].forEach((b,i)=>{const w=looked.get(i)||0,on=i===token?"true":"false",s=b.style,shade=w>.004*most?Math.max(.08,small?w:.8*w/most):0,hide=keep.has(i)?"":"0.35";
  if(s.background||shade)s.background=shade?"rgba("+rgb+","+shade.toFixed(2)+")":"";s.color=shade>.45?"var(--bg)":"";if(s.opacity!==hide)s.opacity=hide;if(b.getAttribute("aria-pressed")!==on)b.setAttribute("aria-pressed",on)})}
$("flow").onclick=e=>{if(e.target.dataset.i)choose(+e.target.dataset.i)};$("flow").onmouseover=e=>{if(e.target.dataset.i)tip(+e.target.dataset.i)};$("flow").onmouseleave=()=>tip(token);
function table(){
 const t=make("table"),first=t.createTHead().insertRow();for(const h of["token","looks at"]){const c=make("th",h);c.scope="col";first.append(c)}first.lastChild.colSpan=8;
 const body=t.createTBody();for(const q of token>=0?[token]:rows(64)){const tr=body.insertRow(),h=make("th",q+" "+names[q]);h.scope="row";tr.append(h);for(const [k,w] of at(layer,head,q).slice(0,8))tr.insertCell().textContent=others[k]+" "+percent(w)}
 $("table").replaceChildren(t)}
function draw(){
 $("name").textContent="Layer "+layer+", head "+head;$("about").textContent=kinds.map((k,i)=>k+" "+percent(page.layers[layer].patterns[head][i])).join(", ");
 $("view").replaceChildren(view==="lines"?lines():small?square():top_keys());for(const v of["square","lines"])$(v).setAttribute("aria-pressed",v===view);flow();if($("details").open)table()}
function redraw(){heads();draw()}
$("rank").onchange=heads;$("filter").oninput=draw;$("square").onclick=()=>{view="square";draw()};$("lines").onclick=()=>{view="lines";draw()};$("details").ontoggle=()=>{if($("details").open)table()};
$("theme").onclick=()=>{const c=document.documentElement.classList,dark=c.contains("dark")||(!c.contains("light")&&matchMedia("(prefers-color-scheme:dark)").matches);c.toggle("dark",!dark);c.toggle("light",dark);redraw()};
{let was="";addEventListener("beforeprint",()=>{was=document.documentElement.className;document.documentElement.className="light";redraw()});addEventListener("afterprint",()=>{document.documentElement.className=was;redraw()})}
matchMedia("(prefers-color-scheme:dark)").addEventListener("change",redraw);
$("save").onclick=()=>{const from=$("view").firstChild,s=from.cloneNode(true),to=[...s.querySelectorAll("*")];s.setAttribute("xmlns","http://www.w3.org/2000/svg");s.removeAttribute("class");
 [...from.querySelectorAll("*")].forEach((e,i)=>{const c=getComputedStyle(e);if(e.matches("text"))to[i].setAttribute("font-family","sans-serif");if(e.matches("text,rect"))to[i].setAttribute("fill",c.fill);if(e.matches("line"))to[i].setAttribute("stroke",c.stroke);if(e.matches(".chosen"))to[i].setAttribute("font-weight","bold");to[i].removeAttribute("class")});
 const a=make("a");a.href=URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(s)],{type:"image/svg+xml"}));a.download="attention_layer"+layer+"_head"+head+".svg";a.click();setTimeout(()=>URL.revokeObjectURL(a.href),1000)};
document.onkeydown=e=>{if(e.target.matches("input,select"))return;const i=order.findIndex(([l,h])=>l===layer&&h===head),d={ArrowRight:1,ArrowLeft:-1}[e.key],u={ArrowDown:1,ArrowUp:-1}[e.key];
 if(d&&!e.altKey&&order[i+d]){choose_head(...order[i+d]);e.preventDefault()}else if(u&&e.altKey){const q=Math.min(T-1,Math.max(0,token+u));if(q!==token)choose(q);e.preventDefault()}else if(e.key==="Escape"){token=-1;draw();tip(-1)}};
// Where a model is inside the page: what is typed goes through it.
function live(read){
 $("live").hidden=false;document.body.className="alive";let last=null;
 const typed=()=>{const text=$("typed").value;if(text===last)return;last=text;const p=JSON.parse(read(text));if(p.error)$("note").textContent=p.error;else show(p)};
 $("typed").oninput=typed;$("text").onchange=()=>{$("typed").value=pages[$("text").value].title;typed()};$("typed").value=pages[0].title;typed()}
document.title=heading;document.querySelector("h1").textContent=heading;
pages.forEach((p,i)=>{const o=make("option",p.title.length>90?p.title.slice(0,89)+"…":p.title);o.value=i;$("text").append(o)});
$("texts").hidden=pages.length<2;$("text").onchange=()=>show(pages[$("text").value]);
layer=pages[0].layer;head=pages[0].head;show(pages[0]);
loaded.then(()=>{if(!$("view").querySelector(".w,line"))draw()}); // a head may be chosen before its keys are there
)html";

/// Texts to choose from. A `script`, where there is one, may call live(f): f takes what is typed and gives
/// to_json's. What is seen first comes first; the keys of other layers are read when they are asked for.
inline void write(std::ostream& out, std::string_view heading, std::span<const Page> pages,
                  std::string_view script = {}) {
  out << kBegin << "<script>\n\"use strict\";\nconst heading=" << script_text(heading) << ",pages=[";
  for (const Page& page : pages) out << to_json(page, false) << ",\n";
  out << "];\n</script>\n" << kBody;
  const auto write_keys = [&](bool first) {
    for (std::size_t p = 0; p < pages.size(); ++p)
      for (std::size_t l = 0; l < pages[p].layers.size(); ++l)
        if (first == (p == 0 && static_cast<Index>(l) == pages[p].layer))
          out << "<i hidden id=\"keys" << p << '.' << l << "\"></i><!--"
              << packed(pages[p].layers[l], pages[p].keys()) << "-->\n";
  };
  write_keys(true);
  out << "<script>" << kScript << kViews << "</script>\n";
  write_keys(false);
  if (!script.empty()) out << "<script>" << script << "</script>\n";
  out << "</body></html>\n";
}

}  // namespace attention_page
