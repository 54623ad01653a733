with

final as (

    {{ experiment_rows('ablation') }}

)

select * from final
